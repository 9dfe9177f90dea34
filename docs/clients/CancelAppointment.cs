// Cancels one Bookings appointment from .NET 8 or later. HttpClient makes the call, and MSAL.NET
// signs in (dotnet add package Microsoft.Identity.Client). It needs a project as `dotnet new` makes
// it: with implicit usings, and nullable.
//
// It does what bookings_client.py does, step by step. An earlier version was compiled and run once.
// The tests of this repository check its syntax only: they have no .NET.

using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Identity.Client;

namespace Contoso.Bookings;

public sealed record CancelRequest(
    string BusinessId,
    string AppointmentId,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    string? CancellationMessage = null);

/// <summary>One thing that is wrong with the request.</summary>
public sealed record Fault(string? Field, string? Message);

/// <summary>
/// What the service answers: an outcome (200), or a problem (anything else). Members that do not
/// apply are absent.
/// </summary>
public sealed record Answer(
    string? Outcome,
    bool Confirmed,
    bool Replayed,
    string? Message,
    string? Code,
    string? Detail,
    bool Retryable,
    int? RetryAfterSeconds,
    string? Claims,
    string? RequestId,
    IReadOnlyList<Fault>? Errors);

/// <summary>
/// The appointment may not be cancelled. Decide on <see cref="Code"/> and <see cref="Retryable"/>,
/// never on the text.
/// </summary>
public sealed class CancelFailedException(Answer answer, HttpStatusCode? status)
    : Exception(Explain(answer, status))
{
    public string Code { get; } =
        answer.Code ?? (status == HttpStatusCode.OK ? "unknown_outcome" : "no_answer");

    public bool Retryable { get; } = CancelClient.PauseSeconds(answer, status) is not null;
    public string? RequestId { get; } = answer.RequestId;

    private static string Explain(Answer answer, HttpStatusCode? status)
    {
        var known = status == HttpStatusCode.OK
            ? $"Unknown outcome '{answer.Outcome}': treated as a failure."
            : answer.Code is null
                ? $"No answer of the service ({(int?)status})."
                : $"{(int?)status} {answer.Code} {answer.Detail}";
        var faults = (answer.Errors ?? []).Select(fault => $"{fault.Field}: {fault.Message}");
        string[] lines = [known, .. faults, $"requestId {answer.RequestId}"];
        return string.Join(Environment.NewLine, lines);
    }
}

/// <param name="http">
/// Its BaseAddress is the service's address with /api/, and its Timeout 30 seconds.
/// </param>
/// <param name="acquireToken">
/// Takes a claims challenge (JSON) or null, and returns an access token for the service.
/// </param>
/// <param name="say">Tells the person who waits.</param>
public sealed class CancelClient(
    HttpClient http,
    Func<string?, CancellationToken, Task<string>> acquireToken,
    Action<string>? say = null)
{
    private const int Attempts = 4;

    // The longest wait in all: the service may ask for an hour, and a person waits here.
    private const int PatienceSeconds = 120;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    // No answer, or one that is not the service's.
    private static readonly Answer Nothing =
        new(null, false, false, null, null, null, false, null, null, null, null);

    /// <summary>
    /// Cancels. All attempts have one Idempotency-Key, so they are one request: a repeat never
    /// cancels twice.
    /// </summary>
    public async Task<Answer> CancelAsync(
        CancelRequest request, string? key = null, CancellationToken cancellation = default)
    {
        key ??= Guid.NewGuid().ToString();
        var token = await acquireToken(null, cancellation);
        var challenged = false;
        var patience = PatienceSeconds;
        for (var attempt = 1; ; attempt++)
        {
            var (status, answer) = await PostAsync(request, token, key, cancellation);
            if (answer is { Code: "interaction_required", Claims: { } claims } && !challenged)
            {
                challenged = true;
                var challenge = Encoding.UTF8.GetString(Convert.FromBase64String(claims));
                token = await acquireToken(challenge, cancellation);
                (status, answer) = await PostAsync(request, token, key, cancellation);
            }
            if (status == HttpStatusCode.OK && answer.Outcome is "cancelled" or "not_found")
            {
                return answer;
            }
            if (PauseSeconds(answer, status) is not { } pause
                || pause > patience
                || attempt == Attempts)
            {
                // Also for an outcome that this client does not know.
                throw new CancelFailedException(answer, status);
            }
            patience -= pause;
            say?.Invoke($"{answer.Code ?? "no answer"}: trying again in {pause} seconds ...");
            await Task.Delay(TimeSpan.FromSeconds(pause), cancellation);
        }
    }

    /// <summary>
    /// How long to wait before the same request is sent again; null if that cannot help.
    /// </summary>
    internal static int? PauseSeconds(Answer answer, HttpStatusCode? status)
    {
        if (answer.Code is not null)
        {
            return answer.Retryable ? answer.RetryAfterSeconds ?? 5 : null;
        }
        // The service itself did not answer (no answer, the page of a gateway): a repeat finds out.
        return status is null
            or HttpStatusCode.RequestTimeout
            or HttpStatusCode.TooManyRequests
            or >= HttpStatusCode.InternalServerError
            ? 5
            : null;
    }

    private async Task<(HttpStatusCode?, Answer)> PostAsync(
        CancelRequest request, string token, string key, CancellationToken cancellation)
    {
        using var message = new HttpRequestMessage(HttpMethod.Post, "v1/cancel-appointment");
        message.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        message.Headers.Add("Idempotency-Key", key);
        // As a string, so that a Content-Length is sent: the Functions host drops a chunked body.
        var body = JsonSerializer.Serialize(request, Json);
        message.Content = new StringContent(body, Encoding.UTF8, "application/json");
        try
        {
            using var response = await http.SendAsync(message, cancellation);
            try
            {
                var text = await response.Content.ReadAsStringAsync(cancellation);
                var answer = JsonSerializer.Deserialize<Answer>(text, Json);
                // The service always names its requestId: without one it is not its answer.
                return (response.StatusCode, answer?.RequestId is null ? Nothing : answer);
            }
            catch (JsonException)
            {
                return (response.StatusCode, Nothing);
            }
        }
        catch (HttpRequestException)
        {
            return (null, Nothing);
        }
        catch (TaskCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return (null, Nothing); // the time-out of HttpClient
        }
    }
}

/// <summary>
/// Tokens of one person at this machine, from the cache if it can. Only who began may continue.
/// </summary>
public sealed class PersonSignIn(string tenantId, string clientId, string scope)
{
    private readonly IPublicClientApplication _app = PublicClientApplicationBuilder
        .Create(clientId)
        .WithAuthority($"https://login.microsoftonline.com/{tenantId}")
        .WithDefaultRedirectUri()
        .WithClientCapabilities(["cp1"]) // this client answers claims challenges
        .Build();

    private IAccount? _person;

    public async Task<string> AcquireTokenAsync(string? claims, CancellationToken cancellation)
    {
        AuthenticationResult result;
        try
        {
            var silent = _app.AcquireTokenSilent([scope], _person).WithClaims(claims);
            result = await silent.ExecuteAsync(cancellation);
        }
        catch (MsalUiRequiredException)
        {
            var ask = _app.AcquireTokenInteractive([scope]).WithClaims(claims);
            if (_person is not null)
            {
                ask = ask.WithAccount(_person);
            }
            result = await ask.ExecuteAsync(cancellation);
        }
        _person ??= result.Account;
        return result.Account.HomeAccountId.Equals(_person.HomeAccountId)
            ? result.AccessToken
            : throw new InvalidOperationException(
                $"{_person.Username} began, and somebody else signed in: nothing more was sent.");
    }
}
