"""What training and objectives ask of a model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.prompt_encoder import PromptEncoder


@runtime_checkable
class TrainableModel(Protocol):
    """A model that can be trained: an `nn.Module` with outputs that objectives compare with data.

    Models inherit from it next to `nn.Module`. Members are annotations without values here: a value
    would hide a submodule of the same name, which `nn.Module` keeps outside of its `__dict__`.

    A model is built as `Model(config, embodiments, chunk=..., steps=...)`; one that reads prompts
    takes `prompt_images` as well. Its weights come from the global torch generator.
    """

    config: Any
    """The frozen config that it was built from. Its class decides which objectives fit."""

    embodiments: EmbodimentSet
    """The embodiments that it was built for, in the order of its weights."""

    chunk: int
    """Actions per step of a window."""

    steps: int
    """Steps of a window, which is also the longest context that it was trained with."""

    prompt_encoder: PromptEncoder | None
    """What turns prompts into tokens; None for a model that reads no prompts."""

    encoder_names: tuple[str, ...]
    """Prefixes of the parameters that `ImageModel.visual_features` depends on. If all of these are
    frozen, features can be computed once and cached. Empty for a model that reads no images."""

    trunk: tuple[str, ...]
    """Prefixes of the parameters that any embodiment can use. Empty for a model in which all depend
    on the embodiment."""

    reward_limit: float
    """The largest reward, of either sign, that it can represent; infinity if there is no limit."""

    def load_pretrained(self) -> tuple[str, ...]:
        """Load the pretrained weights that the config names, if it names any; by default none.

        Returns:
            Prefixes of the parameters that were loaded.
        """
        return ()


@runtime_checkable
class ImageModel(TrainableModel, Protocol):
    """A trainable model that reads images through encoders."""

    def visual_features(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n v d"]:
        """Return v visual tokens for each of n frames.

        A `Batch` may bring them as `features` in place of images while the encoders are frozen.

        Args:
            images: Frames of one camera, with values from 0 to 255.
            camera: Name of the camera, or of its slot where there are several embodiments.
        """
        ...
