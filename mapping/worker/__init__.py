"""The embedded inference worker: a small language model on the CPU, in a process of its own.

`python -m mapping.worker` loads a base model, merges a LoRA adapter into it, and answers
vLLM's dialect of OpenAI's chat protocol on 127.0.0.1: one token, with the log-probabilities of the
tokens that were asked for. Needs the extra `model`. Nothing of a prompt is kept or logged.
"""
