using System.Runtime;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Runs the pieces of one cell, up to its first <c>await</c> and from each one to the next, so that they can be ended from outside.</summary>
/// <remarks>
/// <para>
/// A piece that computes is aborted where it is (finally blocks run), one that waits in managed code is woken by an exception, and one
/// that would come after an <c>await</c> never starts. Native code cannot be ended; the piece ends when it comes back from there.
/// </para>
/// <para>
/// The runtime (10.0) ends a thread that computes only once: the second time it goes on for ever. So a thread on which a piece was
/// aborted must run no other: the caller of <see cref="Run"/> gives it up after <see cref="End"/>, one of the thread pool is kept from going back.
/// </para>
/// <para>
/// As a synchronization context it has no thread of its own: what comes after an <c>await</c> runs in the thread pool, so that a cell
/// that blocks on a task cannot deadlock.
/// </para>
/// </remarks>
internal sealed class InterruptibleContext : SynchronizationContext
{
    private readonly CancellationTokenSource _abort = new();
    private readonly HashSet<Thread> _running = [];
    private readonly Lock _gate = new();
    private bool _isEnded;

    /// <summary>Whether <see cref="End"/> was called.</summary>
    public bool IsEnded => _isEnded;

    /// <summary>Whether a piece is being run right now.</summary>
    public bool IsOnAThread
    {
        get
        {
            lock (_gate)
            {
                return _running.Count > 0;
            }
        }
    }

    /// <summary>Runs a piece on this thread.</summary>
    /// <exception cref="OperationCanceledException">The piece was ended from outside, or may not start any more.</exception>
    public void Run(Action piece)
    {
        if (!Enter())
        {
            throw new OperationCanceledException(_abort.Token);
        }

        var outer = Current;
        SetSynchronizationContext(this);
        try
        {
#pragma warning disable SYSLIB0046 // Obsolete as a general means; made for exactly this one, the code of a notebook's cell.
            ControlledExecution.Run(piece, _abort.Token);
#pragma warning restore SYSLIB0046
        }
        finally
        {
            SetSynchronizationContext(outer);
            Leave();
        }
    }

    /// <summary>Ends what runs, and keeps what has not begun from beginning. Returns at once; may be called again.</summary>
    public void End()
    {
        lock (_gate)
        {
            _isEnded = true;
            foreach (var thread in _running)
            {
                thread.Interrupt();
            }
        }

        // An abort waits until the thread can be stopped; the caller does not.
        if (!_abort.IsCancellationRequested)
        {
            new Thread(_abort.Cancel) { IsBackground = true, Name = "cell abort" }.Start();
        }
    }

    /// <inheritdoc/>
    public override void Post(SendOrPostCallback d, object? state) => ThreadPool.UnsafeQueueUserWorkItem(
        piece =>
        {
            // What comes after the end is dropped.
            if (_isEnded)
            {
                return;
            }

            try
            {
                Run(() => piece.Callback(piece.State));
            }
            catch (Exception error) when (_isEnded && CellErrors.IsStop(error))
            {
                // The end may also come as an interruption, of what the runtime itself waits for when a piece is over.
                // Nobody waits for this piece any more, and no other may come to this thread.
                Thread.Sleep(Timeout.Infinite);
            }
            catch (Exception error) when (!_isEnded && StrayErrors.Report(error, "an async void method"))
            {
                // It is shown. A thread of the pool that it left would not come back from its controlled execution.
            }
        },
        (Callback: d, State: state),
        preferLocal: false);

    /// <inheritdoc/>
    public override void Send(SendOrPostCallback d, object? state) => d(state);

    /// <inheritdoc/>
    public override SynchronizationContext CreateCopy() => this;

    private bool Enter()
    {
        lock (_gate)
        {
            return !_isEnded && _running.Add(Thread.CurrentThread);
        }
    }

    private void Leave()
    {
        lock (_gate)
        {
            _running.Remove(Thread.CurrentThread);
        }

        if (_isEnded)
        {
            try
            {
                // An interruption that came too late must not hit what this thread does next.
                Thread.Sleep(0);
            }
            catch (ThreadInterruptedException)
            {
            }
        }
    }
}
