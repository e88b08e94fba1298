"""The checkpoint that the app is for. Imports nothing: whoever reads the app's metadata may have the SDK alone."""

MODEL_ID = "HuggingFaceTB/SmolVLM2-2.2B-Instruct"
REVISION = "482adb5"
