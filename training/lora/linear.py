"""The product of a linear layer with a LoRA adapter, in fewer and smaller steps than PEFT's.

PEFT turns the layer's input into the adapter's type (float32), and scales and adds in passes of
their own over tensors as large as the layer's output. Here the adapter's matrices, which are small,
are turned into the input's type, and the sum is part of the second product.
"""

from typing import Any

import torch
import torch.nn.functional as functional
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


class LoraProduct(torch.autograd.Function):
    """x W' + bias + scale (x A') B', without gradients of W and bias, which are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """`x`: ... x in; `weight`: out x in; `a`: rank x in; `b`: out x rank."""
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.to(x.dtype).T
        out = functional.linear(flat, weight, bias)
        out.addmm_(low, b.to(x.dtype).T, alpha=scale)
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.scale = scale
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, A and B; the adapter's in the adapter's type."""
        flat, low, weight, a, b = ctx.saved_tensors
        down = grad.reshape(-1, grad.shape[-1])
        up = (down @ b.to(down.dtype)) * ctx.scale
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = down @ weight
            of_x.addmm_(up, a.to(down.dtype))
            of_x = of_x.view(*grad.shape[:-1], weight.shape[1])
        of_a = (up.T @ flat).to(a.dtype)
        of_b = (down.T @ low).to(b.dtype) * ctx.scale
        return of_x, None, None, of_a, of_b, None


class FastLinear(LoraLinear):
    """A LoRA layer that multiplies so. Of one class for all layers, so that they compile once."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Of the one active adapter, which is never merged while it is trained."""
        (name,) = self.active_adapters
        layer, scale = self.base_layer, self.scaling[name]
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        dropout = self.lora_dropout[name]
        if not isinstance(dropout, nn.Identity) and self.training:
            low = dropout(x) @ a.to(x.dtype).T
            base: Tensor = functional.linear(x, layer.weight, layer.bias)
            return base + (low @ b.to(x.dtype).T) * scale
        product: Tensor = LoraProduct.apply(x, layer.weight, layer.bias, a, b, scale)
        return product


def speed_up(model: nn.Module) -> int:
    """Let every plain LoRA layer of a PEFT model multiply so; the number of layers.

    Layers of another kind (8-bit ones) keep PEFT's own way, and so does what is saved.
    """
    count = 0
    for module in model.modules():
        if type(module) is LoraLinear and type(module.base_layer) is nn.Linear:
            module.__class__ = FastLinear
            count += 1
    return count
