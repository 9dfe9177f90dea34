// What the two commands share: their arguments, their usage, how they end.
import { argv, env } from "node:process";
import { readFileSync } from "node:fs";
import { CancelFailed, ENDS, SignInFailed } from "./cancelAppointment.mjs";

/** Cancels what the arguments name, and tells how it ended. The usage is the top of `file`. */
export async function run(file, needed, cancel) {
  const [businessId, appointmentId, cancellationMessage] = argv.slice(2);
  const missing = needed.filter((name) => !env[name]);
  if (missing.length || !appointmentId || argv.length > 5) {
    const usage = readFileSync(new URL(file), "utf8")
      .split("import ")[0]
      .replaceAll(/^\/\/ ?/gm, "");
    console.error(`Missing: ${missing.join(", ") || "BUSINESS_ID and APPOINTMENT_ID"}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  try {
    const answer = await cancel({ businessId, appointmentId, cancellationMessage });
    console.log(answer.message);
    process.exitCode = ENDS[answer.outcome];
  } catch (error) {
    if (!(error instanceof CancelFailed || error instanceof SignInFailed)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
