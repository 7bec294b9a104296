"""Trains the chooser: a LoRA adapter that answers with the letter of the right option.

``python -m training.lora --help`` lists the steps. Plain Python; torch, transformers and peft come
with the extra ``model``.
"""
