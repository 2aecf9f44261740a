// To read, not to try: from here, requests would go out with the cookie of whoever is signed in.
window.SwaggerUIBundle({
  urls: ["identity", "verifier", "broker"].map((name) => ({ name, url: `/docs/openapi/${name}.json` })),
  dom_id: "#documents",
  presets: [window.SwaggerUIBundle.presets.apis, window.SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
  supportedSubmitMethods: [],
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
