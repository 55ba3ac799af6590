"""Checks of the initramfs: what is loaded before the root file system is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.model import Finding, Issue, Severity, Unavailable

if TYPE_CHECKING:
    from hostward.facts.early_boot import EarlyBoot
    from hostward.facts.initramfs import Initramfs, InitramfsModule, InitramfsModules, PickedModule
    from hostward.facts.kernels import RunningKernel

_SHOWN = 6  # modules in a summary; zfs alone brings eight


@check(
    "modules.initramfs-stale",
    title="each initramfs holds the out-of-tree modules that are needed early, in the tree's own build",
    references=[Issue("openzfs/zfs", 9374), Issue("openzfs/zfs", 10355)],
)
def initramfs_stale(
    images: InitramfsModules, early: EarlyBoot, running: RunningKernel | Unavailable
) -> Iterator[Finding]:
    """A module in the initramfs is loaded before the root file system, and with it the module tree, is there; so
    it wins over the tree's, and what it lacks is missing until the root is mounted, or for ever if the root
    needs it. dkms, akmods and kmod packages often build or replace a module after the initramfs was made.

    For each installed kernel, among the modules built out of tree:

    Another build. The initramfs holds a module of a name that modprobe finds in the kernel's tree too, and the
    two are not the same build. Always a finding, as the initramfs's one is loaded first. Packing, signing and
    stripping make no difference; the hash of the sources (srcversion) decides, then version, vermagic and the
    kernel's symbol versions, then, for modules without a srcversion, the build-id. Modules that both say intree
    are passed over: they come and go with the kernel's own package.

    Lacking. The tree has the module, this kernel's initramfs has not, and it must be there because
      * the root file system or /usr is of that type (zfs, bcachefs), or such a module depends on it;
      * or the configuration of the program that made the image names it for early boot (dracut's add_drivers,
        force_drivers, filesystems; rd.driver.pre; the modules file of initramfs-tools; INITRD_MODULES;
        scsi_hostadapter) and, on a running machine, it is loaded;
      * or it is loaded now and the running kernel's initramfs holds it: what this machine boots with today is
        missing for another kernel. Not where dracut is told to omit it.
    A module that is loaded but was never in an initramfs (kvm of kmod-kvm, a network driver) needs none and is
    no finding, however stale the images are; nor is one that the kernel's tree lacks too, which
    `modules.next-boot` judges. Where the image hides a file system image (dracut's squash module), what it lacks
    can't be told.

    An image that matters and that the kernel could not unpack is a finding as well. Images are read only for
    kernels with a module outside kernel/ in their tree, or one loaded that was built out of tree.
    """
    current = None if isinstance(running, Unavailable) else images.get(running.release)
    unknown = [(image, image.unknown) for image in images.images if image.unknown]
    found = False
    for image in images.images:
        if image.damage:
            found = True
            yield _damaged(image)
            continue
        if image.unknown or not image.files:
            continue
        lacking = _lacking(image, images.in_use, early, current)
        if lacking and image.nested:
            reason = f"{image.path}: {image.nested[0]} in it may hold {_listed(list(lacking))}, and is not looked into"
            unknown.append((image, reason))
            lacking = {}
        other = _other_builds(image)
        if lacking or other:
            found = True
            yield _finding(image, lacking, other)
    if unknown and not found:
        raise Unavailable("; ".join(reason for _, reason in unknown))
    for image, reason in unknown:
        yield Finding(
            Severity.INFO,
            f"the initramfs of kernel {image.release} could not be looked at",
            subject=image.path,
            evidence=(reason,),
        )


def _other_builds(image: Initramfs) -> list[tuple[InitramfsModule, PickedModule, list[tuple[str, str, str]]]]:
    found = []
    for name, held in sorted(image.modules.items()):
        pick = image.tree.get(name)
        if pick is None or pick.build is None or held.build is None or (held.build.intree and pick.build.intree):
            continue
        differences = held.build.differences(pick.build)
        if differences:
            found.append((held, pick, differences))
    return found


def _lacking(
    image: Initramfs, in_use: frozenset[str] | None, early: EarlyBoot, current: Initramfs | None
) -> dict[str, tuple[Severity, str]]:
    """Modules that must be in the image and are not, each with how bad it is and why it must be there."""
    found: dict[str, tuple[Severity, str]] = {}
    missing = {name: pick for name, pick in image.tree.items() if name not in image.modules}
    for name in missing:
        if name in early.file_systems:
            found[name] = Severity.ERROR, early.file_systems[name]
    for kind in early.file_systems:
        root = image.tree.get(kind)
        for name in root.needs if root is not None else ():
            if name in missing and missing[name].outside:
                found.setdefault(name, (Severity.ERROR, f"{kind} depends on it, and {early.file_systems[kind]}"))
    for named in early.named:
        made_by = not image.maker or named.maker == image.maker
        if named.module in missing and made_by and (in_use is None or named.module in in_use):
            found.setdefault(named.module, (Severity.WARNING, f"named in {named.where}"))
    if current is not None and current is not image:
        for name in sorted(missing.keys() & (in_use or frozenset()) & current.modules.keys()):
            if name not in early.omitted:
                why = f"loaded now, and {current.modules[name].file} of the running kernel holds it"
                found.setdefault(name, (Severity.WARNING, why))
    return found


def _finding(
    image: Initramfs,
    lacking: dict[str, tuple[Severity, str]],
    other: list[tuple[InitramfsModule, PickedModule, list[tuple[str, str, str]]]],
) -> Finding:
    said, evidence = [], []
    if lacking:
        said.append(f"lacks {_listed(list(lacking))}")
        for name, (_, why) in lacking.items():
            evidence.append(f"{image.path} has no {name}; the tree has {image.tree[name].path}; {why}")
    if other:
        said.append(f"holds another build of {_listed([held.name for held, _, _ in other])} than the tree")
        for held, pick, differences in other:
            evidence.append(f"{held.file} holds {held.path}: " + ", ".join(f"{what} {a}" for what, a, _ in differences))
            evidence.append(f"the tree has {pick.path}: " + ", ".join(f"{what} {b}" for what, _, b in differences))
    severity = max([Severity.WARNING, *(how for how, _ in lacking.values())])
    effect = (
        "Until then this kernel does not find its root file system."
        if severity is Severity.ERROR
        else "Until then this kernel starts with what the initramfs holds, not with what is installed."
    )
    return Finding(
        severity,
        f"the initramfs of kernel {image.release} {' and '.join(said)}",
        subject=image.path,
        evidence=tuple(evidence),
        advice=f"Make it anew: `{remake(image)}`. {effect}",
    )


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _damaged(image: Initramfs) -> Finding:
    return Finding(
        Severity.WARNING,
        f"the initramfs of kernel {image.release} can't be unpacked",
        subject=image.path,
        evidence=(image.damage,),
        advice=f"Make it anew before this kernel is booted: `{remake(image)}`.",
    )


def remake(image: Initramfs) -> str:
    """The command of the program that made the image, or of the distribution whose name for it that is."""
    release, path = image.release, image.path
    if any(file.size_bytes is not None for file in image.files):
        return f"kernel-install add {release} /lib/modules/{release}/vmlinuz"
    if image.maker == "mkinitcpio":
        return "mkinitcpio -P"
    if image.maker == "initramfs-tools" or (not image.maker and path == f"/boot/initrd.img-{release}"):
        return f"update-initramfs -u -k {release}"
    if image.maker == "dracut" or path == f"/boot/initramfs-{release}.img":
        usual = (f"/boot/initramfs-{release}.img", f"/boot/initrd-{release}")
        return f"dracut -f --kver {release}" if path in usual else f"dracut -f {path} {release}"
    return "mkinitrd" if path == f"/boot/initrd-{release}" else f"mkinitrd -f {path} {release}"
