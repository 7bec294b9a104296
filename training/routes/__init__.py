"""Routes from a vendor's label to a canonical one, trained and scored on the same folds.

``python -m training.routes --help`` lists the steps. Plain Python; torch, transformers and peft
come with the extra ``model``.
"""
