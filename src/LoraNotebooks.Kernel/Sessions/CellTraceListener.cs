using System.Diagnostics;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Shows what cells write with <see cref="Debug"/> and <see cref="Trace"/> in the cell, and makes a failed assertion an exception of it.</summary>
/// <remarks>.NET's own listener, whose place this one takes, writes to a debugger only and ends the process when an assertion fails.</remarks>
internal sealed class CellTraceListener : TraceListener
{
    private TraceListener? _replaced;

    /// <summary>Takes the place of .NET's listener.</summary>
    public void Install()
    {
        _replaced = Trace.Listeners.OfType<DefaultTraceListener>().FirstOrDefault();
        if (_replaced is not null)
        {
            Trace.Listeners.Remove(_replaced);
        }

        Trace.Listeners.Add(this);
    }

    /// <summary>Gives the place back.</summary>
    public void Remove()
    {
        Trace.Listeners.Remove(this);
        if (_replaced is not null)
        {
            Trace.Listeners.Insert(0, _replaced);
        }
    }

    /// <inheritdoc/>
    public override void Write(string? message) => Console.Out.Write((NeedIndent ? Indentation() : "") + message);

    /// <inheritdoc/>
    public override void WriteLine(string? message)
    {
        Write(message + Environment.NewLine);
        NeedIndent = true;
    }

    /// <inheritdoc/>
    public override void Fail(string? message) => Fail(message, null);

    /// <inheritdoc/>
    public override void Fail(string? message, string? detailMessage)
    {
        var text = string.Join(' ', new[] { message, detailMessage }.Where(part => !string.IsNullOrEmpty(part)));
        throw new InvalidOperationException(text.Length == 0 ? "An assertion failed." : "An assertion failed: " + text);
    }

    private string Indentation()
    {
        NeedIndent = false;
        return new string(' ', IndentLevel * IndentSize);
    }
}
