"""What would be removed from a venv, for the person who is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envfreeze.model.lines import line

if TYPE_CHECKING:
    from envfreeze.build.sync import SyncPlan

SHOWN = 20


def sync_text(todo: SyncPlan, limit: int = SHOWN) -> str:
    """One line for each change: packages first, then files that no distribution owns."""
    both = {*todo.files_add} & {*todo.files_remove}
    packages = [f"- {dist.name} {dist.version}" for dist in todo.remove]
    packages += [f"~ {item.package.name}  {item.why}" for item in todo.replace]
    packages += [f"+ {package.name} {package.version or ''}" for package in todo.add]
    files = [f"~ {path}" for path in sorted(both)]
    files += [f"- {path}" for path in todo.files_remove if path not in both]
    files += [f"+ {path}" for path in todo.files_add if path not in both]
    lines = [f"  {line(text)}" for text in packages]
    lines += [f"  + source tree {tree.key}: {tree.count} files" for tree in todo.sources]
    if todo.sources_remove:
        lines.append(f"  - {len(todo.sources_remove)} files of source trees:")
        lines += [f"    {line(path)}" for path in todo.sources_remove[:limit]]
        if len(todo.sources_remove) > limit:
            lines.append(f"    ... and {len(todo.sources_remove) - limit} more")
    if files:
        lines.append("  files that no distribution owns:")
        lines += [f"    {line(text)}" for text in files[:limit]]
        if len(files) > limit:
            lines.append(f"    ... and {len(files) - limit} more")
    return "\n".join(lines)
