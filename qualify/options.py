"""Kinds of options: lengths of time and sizes, each with its unit, and devices."""

from __future__ import annotations

import re

import click

NUMBERED = re.compile(r"cuda:[0-9]{1,4}(,[0-9]{1,4})*")
KINDS = ("auto", "cpu", "cuda")


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """Seconds, typed as 45, 90s, 5m or 24h."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, or a usage error that says what would be understood."""
        from qualify import quantities  # here: a renter's command that has no such option need not wait for it

        try:
            return quantities.duration_s(str(value))
        except quantities.QuantityError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Bytes, typed as 512MiB or 16 GB."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes, or a usage error that says what would be understood."""
        from qualify import quantities

        try:
            return quantities.size_bytes(str(value))
        except quantities.QuantityError as error:
            self.fail(str(error), param, ctx)


class DeviceName(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """What can be measured, by kind and, of GPUs, by CUDA's numbers."""

    name = "device"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it was typed, or a usage error that says what would be understood."""
        text = str(value)
        if text not in KINDS and not NUMBERED.fullmatch(text):
            self.fail(f"{text!r} is no device; give auto, cpu, cuda, cuda:2 or cuda:0,2", param, ctx)
        return text
