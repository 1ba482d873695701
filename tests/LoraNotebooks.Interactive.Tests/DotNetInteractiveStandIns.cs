// Signatures of the types of .NET Interactive that extension.dib uses, as they are in its last version; what they do is the test's.
using Microsoft.DotNet.Interactive.Commands;
using Microsoft.DotNet.Interactive.Events;
using Microsoft.DotNet.Interactive.Formatting;

namespace Microsoft.DotNet.Interactive
{
    public sealed class KernelInvocationContext
    {
        private static readonly AsyncLocal<KernelInvocationContext?> Ambient = new();
        private readonly Lock _gate = new();
        private readonly List<DisplayEvent> _published = [];
        private bool _isComplete;

        internal KernelInvocationContext(string command) => Command = new SubmitCode(command);

        public static KernelInvocationContext? Current => Ambient.Value;

        public KernelCommand Command { get; }

        public CancellationToken CancellationToken { get; } = new CancellationTokenSource().Token;

        internal IReadOnlyList<DisplayEvent> Published
        {
            get
            {
                lock (_gate)
                {
                    return [.. _published];
                }
            }
        }

        public void Publish(KernelEvent @event)
        {
            lock (_gate)
            {
                // A cell that has ended takes no more outputs.
                if (!_isComplete)
                {
                    _published.Add((DisplayEvent)@event);
                }
            }
        }

        internal IDisposable Run()
        {
            Ambient.Value = this;
            return new End(this);
        }

        private sealed class End(KernelInvocationContext context) : IDisposable
        {
            public void Dispose()
            {
                Ambient.Value = null;
                lock (context._gate)
                {
                    context._isComplete = true;
                }
            }
        }
    }
}

namespace Microsoft.DotNet.Interactive.Commands
{
    public abstract class KernelCommand;

    public sealed class SubmitCode(string code) : KernelCommand
    {
        public string Code { get; } = code;
    }
}

namespace Microsoft.DotNet.Interactive.Formatting
{
    public sealed class FormattedValue(string mimeType, string value)
    {
        public string MimeType { get; } = mimeType;

        public string Value { get; } = value;
    }
}

namespace Microsoft.DotNet.Interactive.Events
{
    public abstract class KernelEvent(KernelCommand command)
    {
        public KernelCommand Command { get; } = command;
    }

    public abstract class DisplayEvent(
        object value,
        KernelCommand command,
        IReadOnlyCollection<FormattedValue>? formattedValues = null,
        string? valueId = null) : KernelEvent(command)
    {
        public object Value { get; } = value;

        public IReadOnlyCollection<FormattedValue> FormattedValues { get; } = formattedValues ?? [];

        public string? ValueId { get; } = valueId;
    }

    public sealed class DisplayedValueProduced(
        object value,
        KernelCommand command,
        IReadOnlyCollection<FormattedValue>? formattedValues = null,
        string? valueId = null)
        : DisplayEvent(value, command, formattedValues, valueId);

    public sealed class DisplayedValueUpdated(object value, string valueId, KernelCommand command, IReadOnlyCollection<FormattedValue>? formattedValues = null)
        : DisplayEvent(value, command, formattedValues, valueId);
}
