"""Accelerators: driver and devices, toolkits, libraries, and what frameworks were built for."""

from . import frameworks, gpulibs, nvidia, otheraccel, toolkits
from .places import Places


def facts(machine, sites, look=True, ask=None):
    """An Accelerator (:mod:`envfreeze.model.host`) as plain values.

    :param sites: ``[(path, names)]`` in the order of sys.path; names, relative paths of the
        regular files below the site directory.
    :param look: False: the driver and its devices are not looked for, and nothing is run.
    :param ask: whether libraries and programs of the machine may be run, each in a process of its
        own; None: unless the machine is a recorded one.
    """
    places = Places(machine)
    ask = look and (machine.root == "/" if ask is None else ask)
    directories = [path for path, _ in sites]
    prefixes = conda_prefixes(places, directories)
    asked = nvidia.Nvidia(places, ask) if look else None
    kits = toolkits.facts(places, prefixes, directories, ask)
    found = {
        "toolkits": kits,
        "libraries": gpulibs.facts(places, prefixes, directories, [kit["root"] for kit in kits]),
        "frameworks": frameworks.facts(places, sites),
        "others": otheraccel.facts(places, directories, ask) if look else [],
    }
    found["driver"], found["gpus"] = asked.answer() if asked else ({"state": "not-looked"}, [])
    platform = asked.platform if asked else nvidia.platform(places)
    if platform:
        found["platform"] = platform
    return found


def conda_prefixes(places, sites):
    """Conda environments: those that the site directories lie in, and the active one."""
    found = [path.rsplit("/", 3)[0] for path in sites if path.count("/") > 3]
    found.append(places.variable("CONDA_PREFIX") or "")
    return places.once([path for path in found if path and places.names(path + "/conda-meta")])
