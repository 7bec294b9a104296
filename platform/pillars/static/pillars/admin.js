// Small repairs and helps for the admin's pages. No dependency; safe to run again.
(() => {
  "use strict";

  // Unfold draws icons as words in an icon font and hangs clicks on plain elements. Screen readers
  // would read the words, and the keyboard could not reach the clicks.
  const NAMES = { dock_to_right: "Toggle navigation", close: "Close", unfold_more: "Account menu" };
  const NATIVE = "a[href], button, input, select, textarea, label, summary";

  const repair = (root) => {
    root.querySelectorAll(".material-symbols-outlined").forEach((icon) => {
      icon.setAttribute("aria-hidden", "true");
    });
    root.querySelectorAll("[x-on\\:click]").forEach((element) => {
      if (element.matches(NATIVE) || element.dataset.plKeys || element.id === "changelist-filter-close") return;
      element.dataset.plKeys = "1";
      element.setAttribute("role", "button");
      element.tabIndex = 0;
      // An icon alone: name the control and let the control itself be seen, not its word.
      if (element.matches(".material-symbols-outlined")) {
        element.removeAttribute("aria-hidden");
        element.setAttribute("aria-label", NAMES[element.textContent.trim()] || "Toggle");
      }
      element.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        element.click();
      });
    });
    root.querySelectorAll("#nav-sidebar a.active").forEach((link) => {
      link.setAttribute("aria-current", "page");
    });
    root.querySelectorAll("button:not([aria-label]):not([title])").forEach((button) => {
      const words = [...button.childNodes].some(
        (node) => node.textContent.trim() && !(node.matches && node.matches(".material-symbols-outlined"))
      );
      const icon = button.querySelector(".material-symbols-outlined");
      if (icon && !words) button.setAttribute("aria-label", icon.textContent.trim().replaceAll("_", " "));
    });
  };

  // The secret of a key: copied on demand, and not asked for again by a reload of its page.
  const copy = async (button) => {
    const source = document.getElementById(button.dataset.plCopy);
    const said = document.getElementById(button.dataset.plSaid);
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text.trim());
      said.textContent = "Copied.";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      said.textContent = "Selected. Press Ctrl+C to copy.";
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-pl-copy]");
    if (button) copy(button);
  });
  document.addEventListener("DOMContentLoaded", () => {
    repair(document);
    const once = document.querySelector("[data-pl-after-reload]");
    if (once) history.replaceState(null, "", once.dataset.plAfterReload);
  });
  document.addEventListener("htmx:afterSwap", (event) => repair(event.target));
})();
