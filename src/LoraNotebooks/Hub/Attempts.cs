using System.Globalization;

namespace LoraNotebooks.Hub;

/// <summary>How often something is tried, and how long to wait in between: 1 s, 2 s, 4 s, … or as long as the server asks.</summary>
internal sealed class Attempts(Func<TimeSpan, CancellationToken, Task> wait)
{
    /// <summary>The most attempts in a row without success.</summary>
    public const int Most = 6;

    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(5);

    private int _failed;

    /// <summary>Tries until it succeeds.</summary>
    /// <exception cref="HubException">Every attempt failed.</exception>
    public static async Task<T> RunAsync<T>(Func<TimeSpan, CancellationToken, Task> wait, Func<Task<T>> work, CancellationToken cancellation)
    {
        var attempts = new Attempts(wait);
        while (true)
        {
            try
            {
                return await work().ConfigureAwait(false);
            }
            catch (TransientFaultException fault)
            {
                await attempts.AfterAsync(fault, cancellation).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Something was gained: failures before it no longer count.</summary>
    public void Renew() => _failed = 0;

    /// <summary>Waits before the next attempt.</summary>
    /// <exception cref="HubException">There is no next attempt.</exception>
    public async Task AfterAsync(TransientFaultException fault, CancellationToken cancellation)
    {
        _failed++;
        if (fault.RetryAfter > LongestWait)
        {
            throw new HubException(
                fault.Failure,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{fault.Message} The server asks to wait {fault.RetryAfter.Value.TotalMinutes:0} minutes: try again then; what was fetched is kept."),
                fault);
        }

        if (_failed >= Most)
        {
            throw new HubException(fault.Failure, $"{fault.Message} {Most} attempts failed. {Advice(fault.Failure)}", fault);
        }

        await wait(fault.RetryAfter ?? TimeSpan.FromSeconds(1 << (_failed - 1)), cancellation).ConfigureAwait(false);
    }

    private static string Advice(HubFailure failure) => failure == HubFailure.Damaged
        ? "A proxy or a mirror may be changing the file: try without it (HF_ENDPOINT, HTTPS_PROXY)."
        : "Check the network and try again: what was fetched is kept. With HF_HUB_OFFLINE=1 only the cache is used.";
}
