"""A hook of MkDocs: formulas are drawn by MathJax, from a copy that comes with the site.

``pymdownx.arithmatex`` marks what is between $ signs; a page that has such marks loads MathJax, no other does. The copy
is that of the package django-static-mathjax (which needs no Django), one file that draws with SVG and fetches no fonts.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

SCRIPT = "assets/javascripts/mathjax.js"
MARK = 'class="arithmatex"'
SETTINGS = """<script>window.MathJax = {
tex: {inlineMath: [["\\\\(", "\\\\)"]], displayMath: [["\\\\[", "\\\\]"]]},
options: {ignoreHtmlClass: ".*", processHtmlClass: "arithmatex", enableMenu: false},
svg: {fontCache: "global", matchFontHeight: false}}
</script>"""


def on_files(files: Any, config: Any) -> Any:
    """MathJax joins the site's files."""
    found = find_spec("mathjax")
    script = Path(str(found.origin)).parent / "static/mathjax/es5/tex-svg.js" if found and found.origin else None
    if script is None or not script.is_file():
        raise PluginError('MathJax is not here; pip install -e ".[docs]"')
    files.append(File.generated(config, SCRIPT, abs_src_path=str(script)))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """A page with formulas loads it."""
    if MARK not in output:
        return output
    address = get_relative_url(SCRIPT, page.url)
    return output.replace("</head>", f'{SETTINGS}<script defer src="{address}"></script></head>', 1)
