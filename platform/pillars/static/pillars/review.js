// Keys and search of the review queue. Without it the pages work by mouse, tab and space.
(() => {
  "use strict";

  const STORED = "pillars.keys"; // "off": no keys without Ctrl or Alt (WCAG 2.2, 2.1.4)
  const TYPED = "input[type=search], input[type=text], input:not([type]), textarea, select";
  const PRESSABLE = "a[href], button, summary, select";

  const keysAreOn = () => localStorage.getItem(STORED) !== "off";

  const prepareSwitch = () => {
    document.querySelectorAll("[data-pl-keys]").forEach((box) => {
      if (box.type !== "checkbox") return;
      box.closest("label").hidden = false;
      box.checked = keysAreOn();
      box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
    });
  };

  const isPlain = (event) => !(event.ctrlKey || event.altKey || event.metaKey || event.isComposing);

  // Moves the focus within a list, from where it is; from nowhere to its first.
  const move = (list, by) => {
    if (!list.length) return;
    const at = list.indexOf(document.activeElement);
    const to = at < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + by, 0), list.length - 1);
    list[to].focus();
    list[to].scrollIntoView({ block: "nearest" });
  };
  const STEPS = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };

  const queue = () => {
    const links = () => [...document.querySelectorAll("#result_list tbody th a, #result_list tbody td.field-label_shown a")];
    document.addEventListener("keydown", (event) => {
      if (!isPlain(event) || !keysAreOn() || event.target.matches(TYPED)) return;
      if (event.key in STEPS) {
        event.preventDefault();
        move(links(), STEPS[event.key]);
      } else if (event.key === "x") {
        const row = document.activeElement.closest("tr, tbody");
        const box = row && row.querySelector("input.action-select, input[name=_selected_action]");
        if (box) box.click();
      }
    });
  };

  const page = (root) => {
    const form = root.querySelector("form#decide");
    const link = (key) => root.querySelector(`[data-pl-key="${key}"]`);
    const focus = root.querySelector("[data-pl-focus]");
    if (focus && !root.querySelector("[role=alert]")) focus.focus();

    let takesTyping = () => false;
    if (form) takesTyping = decide(form);

    document.addEventListener("keydown", (event) => {
      if (!isPlain(event)) return;
      if (takesTyping(event)) {
        event.preventDefault();
        return;
      }
      if (!keysAreOn() || event.target.matches(TYPED)) return;
      const pressed = link(event.key);
      if (pressed) {
        event.preventDefault();
        pressed.click();
      }
    });
  };

  const decide = (form) => {
    const boxes = [...form.querySelectorAll("input[name=canonical]")];
    const none = form.querySelector("#not_a_finding");
    const said = form.querySelector("[data-pl-chosen]");
    const find = form.querySelector("#find");
    const found = form.querySelector("#found");
    const all = form.querySelector("[data-pl-all]");
    const options = [...form.querySelectorAll("[data-pl-option]")];

    const tell = () => {
      const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
      said.textContent = none.checked ? "Chosen: not a finding." :
        chosen.length ? `Chosen: ${chosen.join(", ")}.` : "Nothing is chosen yet.";
    };
    const toggle = (box) => {
      box.checked = !box.checked;
      box.dispatchEvent(new Event("change", { bubbles: true }));
    };
    form.addEventListener("change", (event) => {
      if (event.target === none && none.checked) boxes.forEach((box) => { box.checked = false; });
      if (event.target.name === "canonical" && event.target.checked) none.checked = false;
      tell();
    });

    // Candidates always stay in sight; of all other labels those that match every word.
    const matches = () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      return options.filter((option) => words.every((word) => option.dataset.search.includes(word)));
    };
    const search = () => {
      const hits = new Set(matches());
      options.forEach((option) => {
        if (all.contains(option)) option.hidden = !hits.has(option) && !option.querySelector("input").checked;
      });
      found.textContent = find.value.trim() ? `${hits.size} of ${options.length} labels match.` : "";
    };
    form.querySelector(".pl-find").hidden = false;
    find.addEventListener("input", search);
    tell();

    const shown = () => [...boxes, none].filter((box) => box.offsetParent !== null);
    const inSearch = (event) => {
      const first = find.value.trim() && matches()[0];
      if (event.key === "Enter") {
        if (first) {
          toggle(first.querySelector("input"));
          find.value = "";
          search();
          first.querySelector("input").focus();
        }
        return true;
      }
      if (event.key === "ArrowDown") {
        const next = first ? first.querySelector("input") : shown()[0];
        if (next) next.focus();
        return true;
      }
      if (event.key === "Escape") {
        find.value = "";
        search();
        find.blur();
        return true;
      }
      return false;
    };

    return (event) => {
      if (event.target === find) return inSearch(event);
      if (event.target.matches(TYPED) || !keysAreOn()) return false;
      if (/^[1-9]$/.test(event.key)) {
        const box = form.querySelector(`[data-pl-candidate="${event.key}"]`);
        if (box) toggle(box);
        return Boolean(box);
      }
      if (event.key === "n") {
        toggle(none);
        return true;
      }
      if (event.key === "/") {
        find.focus();
        return true;
      }
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        move(shown(), STEPS[event.key]);
        return true;
      }
      if (event.key === "Enter" && !event.target.matches(PRESSABLE)) {
        form.requestSubmit();
        return true;
      }
      return false;
    };
  };

  document.addEventListener("DOMContentLoaded", () => {
    prepareSwitch();
    if (document.querySelector("[data-pl-queue]")) queue();
    const root = document.querySelector("[data-pl-review]");
    if (root) page(root);
  });
})();
