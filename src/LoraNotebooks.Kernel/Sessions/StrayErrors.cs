using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>
/// Exceptions that nothing catches: of threads, timers, async void methods, finalizers, and of tasks that nobody awaits.
/// They would end the process; here they are shown in the cell that they come from, and the process goes on.
/// </summary>
/// <remarks>
/// By the time such an exception is known to be unhandled its thread has, as a rule, left the context of its cell already. So each
/// exception is noted with its cell when it is first thrown. A stack overflow and a crash of native code end the process all the same.
/// </remarks>
internal static class StrayErrors
{
    private static readonly ConditionalWeakTable<Exception, CellScope> ThrownIn = [];
    private static readonly Lazy<bool> Watching = new(Watch);

    [ThreadStatic]
    private static bool s_isNoting;

    /// <summary>Watches from now on, in the whole process; a second call does nothing.</summary>
    public static void Install() => _ = Watching.Value;

    /// <summary>Shows an exception in the cell that it comes from.</summary>
    /// <returns>False where there is no session whose cell it could be.</returns>
    public static bool Report(Exception error, string source)
    {
        if (ScopeOf(error) is not { } scope)
        {
            return false;
        }

        try
        {
            scope.Report(error, source);
            return true;
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            // Whoever shows it has failed itself; then the process's own report of the exception is the best there is.
            return false;
        }
    }

    private static CellScope? ScopeOf(Exception error)
    {
        IEnumerable<Exception> causes = error is AggregateException several ? [several, .. several.Flatten().InnerExceptions] : [error];
        foreach (var cause in causes)
        {
            if (ThrownIn.TryGetValue(cause, out var scope))
            {
                return scope;
            }
        }

        return CellScope.Current;
    }

    private static bool Watch()
    {
        AppDomain.CurrentDomain.FirstChanceException += static (_, first) => Note(first.Exception);
        TaskScheduler.UnobservedTaskException += static (_, unobserved) =>
        {
            if (Report(unobserved.Exception, "a task that nobody awaited"))
            {
                unobserved.SetObserved();
            }
        };
        try
        {
            ExceptionHandling.SetUnhandledExceptionHandler(static error => Report(error, "another thread"));
            return true;
        }
        catch (InvalidOperationException)
        {
            // The program that hosts the session has a handler of its own, and there can be only one.
            return false;
        }
    }

    private static void Note(Exception error)
    {
        // What goes wrong in here is thrown for the first time, too.
        if (s_isNoting || CellScope.Flowing is not { } scope)
        {
            return;
        }

        // A cell may be aborted anywhere but in a finally block; the table must stay whole.
        try
        {
        }
        finally
        {
            s_isNoting = true;
            try
            {
                ThrownIn.TryAdd(error, scope);
            }
            catch (OutOfMemoryException)
            {
                // Then it belongs to the cell that runs.
            }

            s_isNoting = false;
        }
    }
}
