// Sign-in of a single-page app with MSAL.js 5 (npm install @azure/msal-browser), and the token for each call.

/** Starts MSAL and signs a person in. `redirectUri`: the page of redirect.html's kind, registered as a single-page application's. */
export async function signIn({ tenantId, clientId, scopes, redirectUri }) {
  const { PublicClientApplication } = await import("@azure/msal-browser");
  const msal = new PublicClientApplication({
    auth: {
      clientId,
      authority: `https://login.microsoftonline.com/${tenantId}`,
      redirectUri,
      clientCapabilities: ["CP1"], // this client answers claims challenges
    },
    cache: { cacheLocation: "sessionStorage" },
  });
  await msal.initialize();
  if (!msal.getActiveAccount()) msal.setActiveAccount((await msal.loginPopup({ scopes })).account);
  return acquireTokenWith(msal, scopes);
}

/** Returns `acquireToken` for cancelAppointment: from the cache where it can, else in a pop-up. */
export function acquireTokenWith(msal, scopes) {
  return async function acquireToken(claims) {
    const wanted = { scopes, account: msal.getActiveAccount(), ...(claims ? { claims } : {}) };
    try {
      return (await msal.acquireTokenSilent(wanted)).accessToken;
    } catch (error) {
      if (error.name !== "InteractionRequiredAuthError") throw error;
      return (await msal.acquireTokenPopup(wanted)).accessToken;
    }
  };
}
