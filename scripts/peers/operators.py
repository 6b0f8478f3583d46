"""Declare two operators, so that torchvision can be imported on a machine without CUDA.

There its compiled operators do not load. Import this module first.
"""

from torch.library import Library

torchvision = Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    torchvision.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
