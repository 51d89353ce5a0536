"""The fleet server: HTTP over services over storage over a pure core.

No network is trained here and no torch is imported; the only model code that runs is inference
through onnxruntime. ``app.main.create_app`` builds the application, importing it does nothing but
turn off onnxruntime's telemetry, which is on by default and must be off before it is loaded.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
