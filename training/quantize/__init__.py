"""Smaller numbers for serving: adapters for llama.cpp, and what quantization costs in quality."""
