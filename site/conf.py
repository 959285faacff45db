"""How Sphinx builds the reading site. scripts/build_site.py gathers the pages and calls it."""

project = "Noise a digit, learn to undo it, grow a digit from noise"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
nb_execution_mode = "off"  # the saved outputs are the pages
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Equations are drawn as SVG by one script that lies beside the pages: no font and no server is asked.
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}
html_theme = "sphinx_book_theme"
html_title = "Diffusion models, digit by digit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = ["_templates"]
html_sidebars = {"**": ["home.html", "search-button-field.html", "sbt-sidebar-nav.html"]}
html_show_search_summary = False  # a page that is opened from disk may not read the others for their first lines
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "footer_content_items": "extra-footer",
    "navbar_persistent": "",
}
html_context = {"default_mode": "auto"}
