"""Configuration of Sphinx, which builds the documentation: `make docs`."""

from importlib.metadata import version as installed_version
from typing import Final

project: Final = "Soprano TTS API"
copyright: Final = "Soprano TTS API contributors"  # noqa: A001 - Sphinx chooses the name
release = version = installed_version("soprano-tts-api")

extensions: Final = ["myst_parser"]
exclude_patterns: Final = ["conf.py", "generate.py"]
nitpicky: Final = True
myst_heading_anchors: Final = 3

html_theme: Final = "furo"
html_title: Final = project
html_copy_source: Final = False
html_show_sourcelink: Final = False
