"use strict";
(() => {
  const root = document.documentElement;
  const main = document.getElementById("main");
  root.classList.add("js");

  // Colours: the switch works by CSS alone; what was chosen is kept here.
  const themes = [...document.querySelectorAll("input[name=theme]")];
  const kept = (value) => {
    try {
      if (value) localStorage.setItem("aitest-theme", value);
      return localStorage.getItem("aitest-theme");
    } catch {
      return null; // a browser may refuse it to files
    }
  };
  const chosen = themes.find((input) => input.value === kept());
  if (chosen) chosen.checked = true;
  themes.forEach((input) => input.addEventListener("change", () => kept(input.value)));

  // Links open what is folded around and in what they lead to.
  const filters = [...document.querySelectorAll("[data-filter]")];
  // What is drawn for the first time above a target gets its real height only then, so the target moves.
  const settle = (target, frames) => {
    target.scrollIntoView();
    if (frames) requestAnimationFrame(() => settle(target, frames - 1));
  };
  const reveal = () => {
    let id = "";
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch {
      return;
    }
    const target = id && document.getElementById(id);
    if (!target || !main.contains(target)) return;
    const article = target.closest("article");
    if (article && article.hidden) clear();
    for (let each = target; each; each = each.parentElement) {
      if (each.localName === "details") each.open = true;
    }
    const own = target.querySelector(":scope > details");
    if (own && target.classList.contains("session")) own.open = true;
    settle(target, 6);
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) reveal(); // followed once more
  });

  // Filters: what does not fit is hidden, here and in the index.
  const articles = [...main.querySelectorAll("article")];
  const entries = new Map([...document.querySelectorAll("[data-for]")].map((item) => [item.dataset.for, item]));
  const texts = new WeakMap();
  const textOf = (article) => {
    if (!texts.has(article)) texts.set(article, article.textContent.toLowerCase());
    return texts.get(article);
  };
  const fits = (article) =>
    filters.every(({ value, dataset: { filter } }) => {
      if (!value) return true;
      if (filter === "text") return textOf(article).includes(value.toLowerCase());
      return article.dataset[filter].split(" ").includes(value);
    });
  const output = document.querySelector(".filters output");
  const showAll = document.querySelector(".filters .clear");
  const apply = () => {
    let sessions = 0;
    let shown = 0;
    for (const article of articles) {
      article.hidden = !fits(article);
      if (!article.classList.contains("session")) continue;
      sessions += 1;
      shown += !article.hidden;
      entries.get(article.id).hidden = article.hidden;
    }
    for (const section of main.querySelectorAll("section:has(article)")) {
      section.classList.toggle("filtered", !section.querySelector("article:not([hidden])"));
    }
    for (const group of document.querySelectorAll(".group")) {
      group.hidden = !group.querySelector("li:not([hidden])");
    }
    const filtered = filters.some(({ value }) => value);
    showAll.hidden = !filtered;
    output.textContent = filtered ? `${shown} of ${sessions} sessions` : "";
  };
  const clear = () => {
    filters.forEach((filter) => { filter.value = ""; });
    apply();
  };
  filters.forEach((filter) => filter.addEventListener("input", apply));
  showAll.addEventListener("click", () => {
    clear();
    filters[0].focus();
  });

  // Copying, where a browser gives no clipboard to files, too.
  const copied = async (pre) => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(pre);
      return document.execCommand("copy");
    }
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    button.textContent = (await copied(button.parentElement.querySelector("pre"))) ? "Copied" : "Selected";
    button.addEventListener("blur", () => { button.textContent = "Copy"; }, { once: true });
  });

  // The index is folded where there is no room beside the report.
  const narrow = matchMedia("(max-width: 60rem)");
  const index = document.querySelector(".index details");
  const fold = () => { index.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();

  // On paper nothing is folded, but what is very long.
  addEventListener("beforeprint", () => {
    main.querySelectorAll("details:not([open])").forEach((details) => {
      if (details.textContent.length > 5000 && details.classList.contains("long")) return;
      details.open = true;
      details.dataset.printed = "";
    });
  });
  addEventListener("afterprint", () => {
    main.querySelectorAll("details[data-printed]").forEach((details) => {
      details.open = false;
      delete details.dataset.printed;
    });
  });

  reveal();
})();
