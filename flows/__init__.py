"""Runnable pipelines: deploy them by path (flows/storyboard.py:storyboard) or by module."""

if __name__ == "flows":
    raise ImportError("import prefect_media.flows instead of flows")
