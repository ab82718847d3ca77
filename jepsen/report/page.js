// Shows the titles of drawings at once, and on touch, where browsers show none.
"use strict";
(function () {
  var tip = document.getElementById("tip");
  function textOf(node) {
    for (; node && node.nodeType === 1 && node.nodeName !== "svg"; node = node.parentNode) {
      if (node.dataset && node.dataset.tip) return node.dataset.tip;
    }
    return "";
  }
  document.querySelectorAll("svg title").forEach(function (title) {
    title.parentNode.dataset.tip = title.textContent;
    title.parentNode.setAttribute("aria-label", title.textContent);
    title.remove();
  });
  function show(event) {
    var text = textOf(event.target);
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    var x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    var y = event.clientY + 18;
    if (y + tip.offsetHeight > window.innerHeight) y = event.clientY - tip.offsetHeight - 12;
    tip.style.left = Math.max(x, 8) + "px";
    tip.style.top = Math.max(y, 8) + "px";
  }
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
})();
