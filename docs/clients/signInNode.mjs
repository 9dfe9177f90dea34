// Sign-in of a person at a terminal with MSAL for Node.js (npm install @azure/msal-node), by device code.

/** Returns `acquireToken` for cancelAppointment: from the cache where it can, else by a code that the person types into a browser. */
export async function signIn({ tenantId, clientId, scopes, say = console.error }) {
  const { PublicClientApplication } = await import("@azure/msal-node");
  const msal = new PublicClientApplication({
    auth: { clientId, authority: `https://login.microsoftonline.com/${tenantId}`, clientCapabilities: ["CP1"] },
  });
  return acquireTokenWith(msal, scopes, say);
}

export function acquireTokenWith(msal, scopes, say) {
  let account = null;
  return async function acquireToken(claims) {
    const wanted = { scopes, ...(claims ? { claims } : {}) };
    try {
      if (account) return (await msal.acquireTokenSilent({ ...wanted, account })).accessToken;
    } catch (error) {
      if (error.name !== "InteractionRequiredAuthError") throw error;
    }
    const result = await msal.acquireTokenByDeviceCode({ ...wanted, deviceCodeCallback: ({ message }) => say(message) });
    account = result.account;
    return result.accessToken;
  };
}
