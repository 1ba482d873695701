using System.Collections.Concurrent;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>One thread on which every cell of a session starts.</summary>
/// <remarks>
/// libtorch keeps its thread count, its gradient mode and TorchSharp its dispose scopes per thread: a setting made in one cell
/// has to be there in the next. After an <c>await</c> a cell goes on in the thread pool (<see cref="InterruptibleContext"/>).
/// </remarks>
internal sealed class CellThread : IDisposable
{
    private const int StackSize = 16 << 20;

    private readonly BlockingCollection<Action> _work = [];

    public CellThread()
    {
        var thread = new Thread(Loop, StackSize) { IsBackground = true, Name = "C# cells" };
        thread.Start();
    }

    /// <summary>Starts <paramref name="work"/> on the thread, in the caller's execution context.</summary>
    public Task<T> Run<T>(Func<Task<T>> work)
    {
        var context = ExecutionContext.Capture();
        var started = new TaskCompletionSource<Task<T>>(TaskCreationOptions.RunContinuationsAsynchronously);
        _work.Add(() =>
        {
            if (context is null)
            {
                Start(null);
            }
            else
            {
                ExecutionContext.Run(context, Start, null);
            }
        });
        return started.Task.Unwrap();

        void Start(object? state)
        {
            try
            {
                started.SetResult(work());
            }
            catch (Exception error)
            {
                started.SetException(error);
            }
        }
    }

    public void Dispose() => _work.CompleteAdding();

    private void Loop()
    {
        foreach (var action in _work.GetConsumingEnumerable())
        {
            action();
        }
    }
}
