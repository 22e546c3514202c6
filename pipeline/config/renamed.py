"""Keys that had another name before, so that whoever still uses one is told the present one."""

from __future__ import annotations

RENAMED = {
    "train.accumulate": "train.gradient_accumulation",
    "train.norms": "train.freeze_bn",
    "train.processes": "train.world_size",
    "methods.ewc.weight": "methods.ewc.reg_importance",
    "methods.ilt.feature_weight": "methods.ilt.loss_de",
    "methods.ilt.weight": "methods.ilt.loss_kd",
    "methods.lwf.weight": "methods.lwf.loss_kd",
    "methods.lwf_mc.weight": "methods.lwf_mc.icarl_importance",
    "methods.mib.weight": "methods.mib.loss_kd",
    "methods.pi.weight": "methods.pi.reg_importance",
    "methods.rw.weight": "methods.rw.reg_importance",
    "methods.sats.weight": "methods.sats.loss_kd",
    "methods.ssul.ssul": "methods.ssul.implementation",
    "methods.web_wilss.encoder_weight": "methods.web_wilss.loss_de",
    "methods.web_wilss.segmentation_weight": "methods.web_wilss.l_seg",
    "methods.wilson.encoder_weight": "methods.wilson.loss_de",
    "methods.wilson.segmentation_weight": "methods.wilson.l_seg",
}
_VALUES = {"train.norms": "`norms: frozen` is `freeze_bn: true`, `norms: batch` is `freeze_bn: false`"}
"""What to write where the values changed as well."""


def renamed(dotted: str) -> str:
    """Return what to say of a former key, empty if it never was one."""
    if dotted not in RENAMED:
        return ""
    values = f": {_VALUES[dotted]}" if dotted in _VALUES else ""
    return f"config: `{dotted}` is now `{RENAMED[dotted]}`{values}"
