"""Lets a torchvision built for another torch be imported, for the image transforms written in Python.

The set-up step copies this module into ``.venv`` together with a ``.pth`` line that imports it, and does so only where
``import torchvision`` fails: beside a CPU build of torch, PyPI's torchvision (built for CUDA) cannot load its compiled
half, and then its Python half stops at the first of two operators that it decorates but that nobody has defined.
Declaring the two is enough to go on. Calling one still fails, as it should: there is no code behind it.

Everything is put off until torchvision itself asks, so an interpreter that never imports torchvision pays one string
comparison per import. Where the compiled half does load, the operators are there and nothing is declared.
"""

import sys

_ASKING = "torchvision._meta_registrations"
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[object] = []  # torch forgets the operators of a library that is garbage-collected


class DeclareMissingOps:
    """A finder that finds nothing: it is told of every import just before it happens, and that is all it is for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == _ASKING:
            _declare_missing()
        return None


def _declare_missing():
    import torch

    missing = [schema for name, schema in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _libraries.append(library)
        for schema in missing:
            library.define(schema)


sys.meta_path.insert(0, DeclareMissingOps)
