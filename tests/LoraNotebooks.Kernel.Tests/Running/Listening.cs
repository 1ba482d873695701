using System.Collections.Concurrent;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Hears what cells print.</summary>
internal sealed class Listening : IRunProgress
{
    private readonly ConcurrentDictionary<string, TaskCompletionSource> _heard = new();

    public ConcurrentQueue<string> Ends { get; } = [];

    public ConcurrentQueue<string> Texts { get; } = [];

    public ConcurrentQueue<string> Errors { get; } = [];

    /// <summary>Whether each cell that ended lets the run go on.</summary>
    public ConcurrentQueue<bool> Successes { get; } = [];

    public Action WhenEnded { get; init; } = static () => { };

    public Action<string> WhenHeard { get; init; } = static _ => { };

    /// <summary>Waits for a text, or for the end of the run, which shows what else there was.</summary>
    public Task WaitAsync(string text, Task run) => Task.WhenAny(Of(text).Task, run).WaitAsync(TimeSpan.FromMinutes(2));

    public void NotebookStarted(string path, int cells)
    {
    }

    public void CellStarted(int number, int cells, string title)
    {
    }

    public void CellSkipped(int number, int cells, string title)
    {
    }

    public void Output(string text, bool isError)
    {
        (isError ? Errors : Texts).Enqueue(text);
        Of(text.Trim()).TrySetResult();
        WhenHeard(text);
    }

    public void Status(string text)
    {
    }

    public void CellEnded(bool succeeded, TimeSpan elapsed)
    {
        Successes.Enqueue(succeeded);
        WhenEnded();
    }

    public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed) =>
        Ends.Enqueue(FormattableString.Invariant($"ended {outcome.Exit} after {elapsed.TotalSeconds}"));

    private TaskCompletionSource Of(string text) =>
        _heard.GetOrAdd(text, static _ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
}
