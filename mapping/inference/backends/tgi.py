"""Text Generation Inference.

Its log-probabilities are taken after the grammar's mask and after the temperature. So the grammar
allows the letters alone, nothing else bends them (no temperature, no top-p), and the mass outside
of the letters cannot be seen. Needs `--max-top-n-tokens 26` on the server.
"""

from mapping.inference.answers import choice_of, inside, log_prob, objects
from mapping.inference.backends.base import plain, split_template, template_chat
from mapping.inference.failures import another_model, rubbish
from mapping.inference.options import InferenceOptions
from mapping.inference.transport import Transport
from mapping.resolver.prompt import LETTERS, SYSTEM, prompt_version
from mapping.resolver.types import Choice, ModelIdentity, Prompt


class TgiBackend:
    """Reads letters through a grammar of one letter."""

    def __init__(self, options: InferenceOptions) -> None:
        self._options = options
        self._template = ("", "")

    def verify(self, server: Transport, *, deadline: float) -> ModelIdentity:
        """The base model by /info, and the chat template. A missing adapter fails when read."""
        if inside(server.get("/info", deadline=deadline), "model_id") != self._options.model:
            raise another_model(f"model {self._options.model!r}")
        chat = {"model": self._options.model, "messages": template_chat(SYSTEM)}
        rendered = server.post("/chat_tokenize", chat, deadline=deadline)
        self._template = split_template(inside(rendered, "templated_text"))
        return ModelIdentity(
            backend="tgi",
            logprob_mode="masked",
            base=self._options.model,
            base_digest=self._options.model_digest,
            adapter=self._options.adapter,
            adapter_digest=self._options.adapter_digest,
            prompt=prompt_version(),
        )

    def read(self, server: Transport, prompt: Prompt, *, salt: str, deadline: float) -> Choice:
        """The letters' log-probabilities among themselves."""
        letters = LETTERS[: len(prompt.names)]
        before, after = self._template
        parameters = {
            "max_new_tokens": 1,
            "do_sample": False,
            "details": True,
            "top_n_tokens": len(letters),
            "grammar": {"type": "regex", "value": f"[A-{letters[-1]}]"},
        }
        if self._options.adapter:
            parameters["adapter_id"] = self._options.adapter
        body = {"inputs": before + plain(prompt.user) + after, "parameters": parameters}
        answer = server.post("/generate", body, deadline=deadline)
        found: dict[str, float] = {}
        for token in objects(inside(answer, "details", "top_tokens", 0)):
            # What the mask forbids has no finite number, which JSON writes as null.
            if token.get("text") in tuple(letters) and token.get("logprob") is not None:
                found[str(token["text"])] = log_prob(token["logprob"])
        if not found:
            raise rubbish()
        return choice_of(found, letters, prompt.names, masked=True)
