"""The model: settings, chat text and the vLLM engine. Knows nothing of MMIF."""
