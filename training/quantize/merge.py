"""A base model with the adapter in its weights: what other tools quantize."""

import shutil
import tempfile
from pathlib import Path


def merge(adapter: Path, base: Path, out: Path) -> None:
    """Write the merged model as transformers saves it, in bfloat16; all of it or nothing.

    FileExistsError if `out` is there: a model that may be served is never written over.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if out.exists():
        raise FileExistsError(f"{out} is there already: name another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    scratch = Path(tempfile.mkdtemp(prefix=".merging-", dir=out.parent))
    try:
        merged.to(torch.bfloat16).save_pretrained(scratch)
        AutoTokenizer.from_pretrained(base).save_pretrained(scratch)
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
