"""The model server: follows an alias of the MLflow registry and answers requests with ONNX Runtime."""
