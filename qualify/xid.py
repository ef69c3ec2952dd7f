"""The driver's XID numbers by what they mean for a node.

Source: NVIDIA, "Xid Errors", the catalogue for Ampere and newer GPUs and the table of possible causes for older ones
(docs.nvidia.com/deploy/xid-errors). A number's class follows the immediate action that is asked for there: what ends
with a reset of the GPU or with support is the device's; what ends with a restart of the program is the program's,
because ours caused none.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["fatal", "application", "thermal", "link", "memory", "notice"]


class Xid(NamedTuple):
    """What a number means."""

    kind: Kind
    words: str


def _engines() -> dict[int, Xid]:
    """Copy engines, video engines: one number each."""
    copies = (39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136))
    videos = (60, 65, 68, 82, 83, 84, 86, 88, 89, *range(96, 106), 139, 142)
    return {number: Xid("application", "a copy engine's exception") for number in copies} | {
        number: Xid("application", "a video engine's exception") for number in videos
    }


CATALOGUE: dict[int, Xid] = {
    **_engines(),
    8: Xid("application", "the GPU stopped processing"),
    11: Xid("application", "an invalid or corrupted push buffer"),
    13: Xid("application", "an exception of the compute engine, as of an access out of bounds"),
    25: Xid("application", "an invalid or illegal push buffer"),
    31: Xid("application", "a memory page fault"),
    32: Xid("application", "an invalid or corrupted push buffer"),
    37: Xid("notice", "an error of the driver's firmware"),
    38: Xid("notice", "an error of the driver's firmware"),
    43: Xid("application", "a program's channel was reset"),
    44: Xid("application", "a fault while switching contexts"),
    45: Xid("notice", "programs were ended because of an earlier error"),
    46: Xid("fatal", "the GPU stopped processing"),
    48: Xid("memory", "a double-bit ECC error"),
    54: Xid("thermal", "auxiliary power is not connected to the board"),
    56: Xid("application", "an error of the display engine"),
    57: Xid("fatal", "the memory interface could not be set up"),
    58: Xid("fatal", "the memory interface is unstable"),
    59: Xid("fatal", "an internal error of the micro-controller"),
    61: Xid("fatal", "a breakpoint of the internal micro-controller"),
    62: Xid("thermal", "the power management's micro-controller halted"),
    63: Xid("notice", "a memory page or row was marked to be replaced"),
    64: Xid("memory", "a bad memory page or row could not be replaced"),
    66: Xid("notice", "an illegal access by the driver"),
    67: Xid("notice", "an illegal access by the driver"),
    69: Xid("application", "a class error of the compute engine"),
    74: Xid("link", "an NVLink error"),
    78: Xid("notice", "a virtual GPU did not start"),
    79: Xid("fatal", "the GPU has fallen off the bus"),
    80: Xid("application", "corrupted data were sent to the GPU"),
    92: Xid("memory", "a high rate of single-bit ECC errors"),
    93: Xid("notice", "the infoROM is worn"),
    94: Xid("memory", "a contained memory error"),
    95: Xid("memory", "an uncontained memory error"),
    106: Xid("notice", "a test message"),
    107: Xid("notice", "a test message"),
    109: Xid("fatal", "a context switch timed out"),
    110: Xid("fatal", "a security fault"),
    119: Xid("fatal", "the GPU's system processor did not answer"),
    120: Xid("fatal", "an error of the GPU's system processor"),
    121: Xid("notice", "a corrected error between CPU and GPU"),
    136: Xid("link", "a link could not be trained"),
    137: Xid("application", "an NVLink access without privilege"),
    140: Xid("memory", "an ECC error that was not recovered"),
    141: Xid("notice", "an error of CUDA's fast path"),
    143: Xid("fatal", "the GPU could not be initialised"),
    **{number: Xid("link", "an NVLink error") for number in range(144, 151)},
    151: Xid("fatal", "a key could not be rotated"),
    152: Xid("notice", "an error of the deep-learning accelerator"),
    153: Xid("notice", "a timeout of the deep-learning accelerator"),
    154: Xid("notice", "the recovery that the GPU asks for has changed"),
    155: Xid("link", "an NVLink error defined by software"),
    156: Xid("memory", "a resource was retired and waits for a reset"),
    157: Xid("memory", "a resource could not be retired"),
    158: Xid("fatal", "a fatal timeout"),
    159: Xid("notice", "an error of the coherent link"),
    160: Xid("notice", "a channel was retired"),
    161: Xid("notice", "a channel could not be retired"),
    162: Xid("notice", "power smoothing is on again"),
    163: Xid("notice", "power smoothing is off"),
    164: Xid("notice", "power smoothing is near the end of its life"),
    165: Xid("notice", "power smoothing is at the end of its life"),
    166: Xid("link", "traffic on a link before it was set up"),
    167: Xid("fatal", "a fatal timeout of PCI Express"),
    168: Xid("memory", "less memory than there should be"),
    169: Xid("fatal", "the security micro-controller halted"),
    170: Xid("link", "an interrupt of a link in confidential mode"),
    171: Xid("memory", "an uncorrectable error in the DRAM"),
    172: Xid("memory", "an uncorrectable error in the SRAM"),
}
