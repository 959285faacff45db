// A formula that is wider than the page scrolls. So that it scrolls by keyboard too, it takes the focus.
const reachable = () => {
  for (const box of document.querySelectorAll("mjx-container[display=true]"))
    box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
};
window.addEventListener("load", () => window.MathJax?.startup.promise.then(reachable));
window.addEventListener("resize", reachable);
