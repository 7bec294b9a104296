// Small repairs and helps for the admin's pages. No dependency; safe to run again.
(() => {
  "use strict";

  // Unfold draws icons as words in an icon font and hangs clicks on plain elements. Screen readers
  // would read the words, and the keyboard could not reach the clicks.
  const NAMES = {
    close: "Close", computer: "Theme", light_mode: "Theme", dark_mode: "Theme", unfold_more: "Menu",
  };
  const ICON = ".material-symbols-outlined";
  const NATIVE = "a[href], button, input, select, textarea, label, summary";

  const repair = (root) => {
    root.querySelectorAll(ICON).forEach((icon) => {
      icon.setAttribute("aria-hidden", "true");
    });
    root.querySelectorAll("[x-on\\:click]").forEach((element) => {
      if (element.matches(NATIVE) || element.dataset.plKeys || element.id === "changelist-filter-close") return;
      element.dataset.plKeys = "1";
      element.setAttribute("role", "button");
      element.tabIndex = 0;
      const icon = element.matches(ICON) ? element : element.querySelector(ICON);
      element.removeAttribute("aria-hidden");
      if (icon && icon.textContent.trim() === element.textContent.trim()) {
        element.setAttribute("aria-label", NAMES[icon.textContent.trim()] || "Menu");
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
    root.querySelectorAll('button:not([aria-label]):not([title]), a[href="#"]:not([aria-label]):not([title])').forEach((button) => {
      const icon = button.querySelector(ICON);
      if (icon && icon.textContent.trim() === button.textContent.trim()) {
        button.setAttribute("aria-label", icon.textContent.trim().replaceAll("_", " "));
      }
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
  const landmarks = () => {
    const content = document.getElementById("content") || document.querySelector(".login #page > div");
    if (!content) return;
    content.setAttribute("role", "main");
    content.tabIndex = -1;
    content.id ||= "content";
    document.getElementById("header-inner")?.parentElement.parentElement.setAttribute("role", "banner");
    const skip = Object.assign(document.createElement("a"), {
      className: "pl-skip", href: `#${content.id}`, textContent: "Skip to the content",
    });
    document.body.prepend(skip);
  };

  document.addEventListener("DOMContentLoaded", () => {
    landmarks();
    repair(document);
    const once = document.querySelector("[data-pl-after-reload]");
    if (once) history.replaceState(null, "", once.dataset.plAfterReload);
  });
  document.addEventListener("htmx:afterSwap", (event) => repair(event.target));
})();
