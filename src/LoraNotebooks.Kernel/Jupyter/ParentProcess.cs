using System.Diagnostics;
using System.Globalization;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The process that started this one: a kernel's Jupyter server, the supervisor of a run.</summary>
internal static class ParentProcess
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    /// <summary>Ends when the server has ended, so that no kernel is left behind; never, where none is known.</summary>
    public static async Task WaitForEndAsync(CancellationToken cancellation)
    {
        if (!int.TryParse(Environment.GetEnvironmentVariable("JPY_PARENT_PID"), CultureInfo.InvariantCulture, out var id) || id <= 1)
        {
            await Task.Delay(Timeout.Infinite, cancellation).ConfigureAwait(false);
            return;
        }

        await WaitForEndAsync(id, cancellation).ConfigureAwait(false);
    }

    /// <summary>Ends when a process has ended.</summary>
    public static async Task WaitForEndAsync(int id, CancellationToken cancellation)
    {
        try
        {
            using var server = Process.GetProcessById(id);
            while (!server.HasExited)
            {
                await Task.Delay(Interval, cancellation).ConfigureAwait(false);
            }
        }
        catch (ArgumentException)
        {
            // It has ended already.
        }
    }
}
