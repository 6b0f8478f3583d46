"""Images and state of a step to observation tokens.

Dimensions: b rows, t steps, n frames, v visual tokens, o observation tokens (visual and state),
d numbers per token, m attention maps per token. `embodiment` is each row's index in the
`EmbodimentSet`, int64 (b,), or None where there is only one.
"""

from __future__ import annotations

import torch
from einops import pack, unpack
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from manyparts.core.arguments import expect
from manyparts.core.records import Batch, PromptImages
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.configs import EncoderConfig
from manyparts.models.encoders import ConvEncoder, ViT, build_encoder
from manyparts.nn.linear import Linear
from manyparts.nn.mlp import mlp
from manyparts.nn.named import NamedModules
from manyparts.nn.token_learner import TokenLearner


class ObservationEmbedding(nn.Module):
    """A few visual tokens per camera's frame, and one state token.

    Cameras of several embodiments in one slot share their encoder.

    Args:
        encoder: Config of every camera's encoder.
        embodiments: The embodiments.
        visual_tokens: Visual tokens per frame.
        token_maps: Attention maps per visual token.
        width: Numbers per token.

    Attributes:
        tokens: bool (embodiments, o): the observation tokens that each embodiment has.
        all_tokens: Whether every embodiment has all of them.
    """

    tokens: Tensor

    def __init__(
        self,
        encoder: EncoderConfig,
        embodiments: EmbodimentSet,
        *,
        visual_tokens: int,
        token_maps: int,
        width: int,
    ):
        super().__init__()
        self.cameras, self.num_tokens, self.width = tuple(embodiments.slots), visual_tokens, width
        # Kind by kind rather than camera by camera: weights are drawn in this order.
        encoders = {name: build_encoder(encoder, size) for name, size in embodiments.slots.items()}
        self.encoders = NamedModules(encoders)
        for each in encoders.values():
            expected = f"a divisor of the encoder's width, {each.width}"
            expect("model.token_maps", token_maps, not each.width % token_maps, expected)
        self.token_learners = NamedModules(
            {
                name: TokenLearner(each.width, visual_tokens, maps=token_maps)
                for name, each in encoders.items()
            }
        )
        self.projections = NamedModules(
            {name: Linear(each.width, width) for name, each in encoders.items()}
        )
        self.state = mlp([2 * embodiments.state_dimension, width, width])
        # From (embodiments, slots + 1) to tokens: a camera counts for its visual tokens.
        repeats = torch.tensor([visual_tokens] * len(self.cameras) + [1])
        present = torch.from_numpy(embodiments.present).repeat_interleave(repeats, dim=1)
        self.register_buffer("tokens", present, persistent=False)
        self.all_tokens = bool(embodiments.present.all())

    def visual(self, images: UInt8[Tensor, "n c h w"], camera: str) -> Float[Tensor, "n v d"]:
        """Return the visual tokens of frames of one camera.

        Args:
            images: Frames, with values from 0 to 255.
            camera: Name of the camera, or of its slot where there are several embodiments.
        """
        patches = self.encoders[camera](images)
        return self.projections[camera](self.token_learners[camera](patches))

    def real(self, embodiment: Int[Tensor, "b"] | None) -> Bool[Tensor, "r o"]:
        """Return the observation tokens that are present: per row (r = b), or one row for all."""
        return self.tokens if embodiment is None else self.tokens[embodiment]

    def attention(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n v m rows columns"]:
        """Return where the visual tokens of frames look; each map sums to 1 over the grid.

        Args:
            images: Frames, with values from 0 to 255.
            camera: Name of the camera or slot. Its encoder is a `ConvEncoder` or a `ViT`.

        Returns:
            Weights of the patches, in the rows and columns of the encoder's grid.
        """
        encoder, token_learner = self.encoders[camera], self.token_learners[camera]
        assert isinstance(encoder, ConvEncoder | ViT) and isinstance(token_learner, TokenLearner)
        return token_learner.attention(encoder(images)).unflatten(-1, encoder.grid)

    def embed_visual(
        self, batch: Batch | PromptImages, embodiment: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b t v d"]:
        """Return the visual tokens of every camera.

        Args:
            batch: Brings the tokens as features, or images, which are encoded.
            embodiment: See the module. Tokens of cameras that a row's embodiment lacks are zero.
        """
        if embodiment is not None:
            # One column per camera: the first token of each slot, without the state at the end.
            present = self.real(embodiment)[:, : -1 : self.num_tokens].unbind(dim=1)
            slots = zip(self.cameras, present, strict=True)
            return torch.cat([self._in_slot(batch, name, rows) for name, rows in slots], dim=2)
        if batch.features:
            # Cached features are in float16, whatever the parameters are in.
            return torch.cat([batch.features[name].to(self.dtype) for name in self.cameras], dim=2)
        tokens = []
        for name in self.cameras:
            # All frames of rows and steps are one batch to the encoder.
            frames, shape = pack([batch.images[name]], "* c h w")
            tokens += unpack(self.visual(frames, name), shape, "* v d")
        return torch.cat(tokens, dim=2)

    def _in_slot(
        self, batch: Batch | PromptImages, name: str, present: Bool[Tensor, "b"]
    ) -> Float[Tensor, "b t v d"]:
        """Return a slot's visual tokens in the rows that have the camera, zeros in the others."""
        cameras, rows = batch.features or batch.images, present.nonzero()[:, 0]
        shape = (*batch.mask.shape, self.num_tokens, self.width)
        # If all rows lack the camera, the batch may not bring the slot at all.
        if name not in cameras or not len(rows):
            return torch.zeros(shape, dtype=self.dtype, device=present.device)
        if batch.features:
            tokens = cameras[name][rows].to(self.dtype)
        else:
            frames, lead = pack([cameras[name][rows]], "* c h w")
            (tokens,) = unpack(self.visual(frames, name), lead, "* v d")
        # Zeros take the tokens' dtype, which under autocast is not the parameters' one.
        return tokens.new_zeros(shape).index_copy(0, rows, tokens)

    def embed_state(
        self, state: Float[Tensor, "b t s"], real: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b t d"]:
        """Return the state token.

        Args:
            state: Normalised, padded to the largest embodiment.
            real: Numbers that are not padding. The others count as zero, and the input marks them.
        """
        # A row's mask holds for all of its steps.
        real = real[:, None].expand(state.shape)
        return self.state(torch.cat([state * real, real.to(state.dtype)], dim=-1))

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the parameters."""
        return next(self.parameters()).dtype
