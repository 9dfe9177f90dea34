/*
 * Shows openapi.json, the file beside this one. It asks no other host: no validator, no analytics.
 * It sends no request of the API: the console does that.
 */

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: false,
  queryConfigEnabled: false, // an address cannot make the page show another document
  supportedSubmitMethods: [], // no "Try it out"
  tryItOutEnabled: false,
  validatorUrl: null,
});
