"""litellm, made safe to import: offline and silent."""

import logging
import os
from functools import cache
from types import ModuleType

# Set before the import: without the first it fetches a price map and, offline, stalls for seconds.
_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}


@cache
def load_litellm() -> ModuleType:
    """The module, imported once (3 s of CPU) with its surprises switched off."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True  # a parameter that a provider lacks is left out, not an error
    # A name with "llama-3" in it would fetch a tokenizer: 24 s offline, in the middle of a stream.
    litellm.disable_hf_tokenizer_download = True
    for logger in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return litellm
