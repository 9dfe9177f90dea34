// Sign-in of a person at a terminal with MSAL for Node.js (npm install @azure/msal-node), by device
// code.
import { SignInFailed } from "./cancelAppointment.mjs";

/**
 * Returns `acquireToken` for cancelAppointment: from the cache if it can, else by a code that the
 * person types into a browser. Only the person who began may continue: SignInFailed for anybody
 * else.
 */
export async function signIn({ authority, clientId, scopes, say = console.error }) {
  const { PublicClientApplication } = await import("@azure/msal-node");
  const msal = new PublicClientApplication({
    auth: {
      clientId,
      authority,
      knownAuthorities: [new URL(authority).host], // ours, and no user's input
      clientCapabilities: ["CP1"], // this client answers claims challenges
    },
  });
  let person = null;
  return async function acquireToken(claims) {
    const wanted = { scopes, ...(claims ? { claims } : {}) };
    try {
      if (person) {
        return (await msal.acquireTokenSilent({ ...wanted, account: person })).accessToken;
      }
    } catch (error) {
      if (error.name !== "InteractionRequiredAuthError") throw error;
    }
    const deviceCodeCallback = ({ message }) => say(message);
    const result = await msal
      .acquireTokenByDeviceCode({ ...wanted, deviceCodeCallback })
      .catch((error) => {
        throw new SignInFailed(`Nobody signed in: ${error.message}`);
      });
    person ??= result.account;
    if (result.account.homeAccountId !== person.homeAccountId) {
      throw new SignInFailed(
        `${person.username} began, and somebody else signed in: nothing more was sent.`,
      );
    }
    return result.accessToken;
  };
}
