"""The machine below the environment: each part looks on its own, and none can fail the others."""

from . import accelerator, numerics, platform


def facts(machine, sites, devices=True):
    """``model.host.Host`` as plain values.

    *sites*: ``[(path, names)]`` in the order of sys.path, names being all relative paths of regular
    files below it. *devices*: whether drivers may be asked.
    """
    parts = {
        "platform": lambda: platform.facts(machine),
        "accelerator": lambda: accelerator.facts(machine, sites, devices),
        "numerics": lambda: numerics.facts(machine, sites),
    }
    found = {}
    for name, look in parts.items():
        try:
            found[name] = look()
        except Exception as error:  # Nothing of a machine is worth losing its environment for.
            detail = "it was not looked at: %s: %s" % (type(error).__name__, error)
            machine.find("host", name, detail, "report this; the rest of the lock is whole")
    return found
