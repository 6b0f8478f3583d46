"""Imported first by programs that need torchvision: on a machine without CUDA its compiled
operators do not load, and it does not import until these two are declared."""

from torch.library import Library

torchvision = Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    torchvision.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
