/*
 * Shows openapi.json, the file beside this one. It asks no other host: no validator, no analytics.
 * It sends no request of the API: the console does that.
 */

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

/*
 * Name what Swagger UI leaves without a name, for those who hear the page. A link within a button
 * cannot be reached by the keyboard; the address follows the button anyway.
 */
const NAMES = {
  ".information-container section": "About the API",
  "section.schemes": "Server",
  "section.models": "Schemas",
  "#servers": "Server",
  ".examples-select-element": "Example",
};
function mend() {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const found of document.querySelectorAll(selector)) found.ariaLabel = name;
  }
  for (const link of document.querySelectorAll("button a")) link.removeAttribute("href");
  for (const block of document.querySelectorAll("pre.microlight")) block.tabIndex = 0;
}
const docs = document.getElementById("docs");
new MutationObserver(mend).observe(docs, { childList: true, subtree: true });

SwaggerUIBundle({
  url: "openapi.json",
  domNode: docs,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: false,
  queryConfigEnabled: false, // an address cannot make the page show another document
  supportedSubmitMethods: [], // no "Try it out"
  syntaxHighlight: { theme: "obsidian" }, // its colours can be read
  tryItOutEnabled: false,
  validatorUrl: null,
});
