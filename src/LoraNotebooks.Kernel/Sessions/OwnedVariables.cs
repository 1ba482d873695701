using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The variables that cells declared with <c>using</c>: disposed of when their name is declared anew, and when the session ends.</summary>
/// <param name="note">Told of what could not be disposed of.</param>
internal sealed class OwnedVariables(Action<string> note)
{
    private readonly List<Variable> _variables = [];

    /// <summary>Whether there is nothing to dispose of.</summary>
    public bool IsEmpty => _variables.Count == 0;

    /// <summary>Takes over the variables of a cell that ran.</summary>
    /// <param name="submission">The object that holds them; null if the cell never got that far.</param>
    /// <param name="names">Their names.</param>
    public void Add(object? submission, IEnumerable<string> names) =>
        _variables.AddRange(names
            .Select(name => submission?.GetType().GetField(name) is { } field ? new Variable(name, field, submission) : null)
            .OfType<Variable>());

    /// <summary>Disposes of what the cell that is about to run declares anew, so that a file that it opens again is closed.</summary>
    public Task DisposeReplacedAsync(CSharpCompilation cell)
    {
        if (IsEmpty)
        {
            return Task.CompletedTask;
        }

        var names = cell.ScriptClass!
            .GetMembers()
            .Where(member => member is IFieldSymbol or IPropertySymbol && !member.IsImplicitlyDeclared)
            .Select(member => member.Name)
            .ToHashSet();
        return DisposeAsync(variable => names.Contains(variable.Name));
    }

    /// <summary>Disposes of what nothing can name after its cell.</summary>
    public Task DisposeHiddenAsync() => IsEmpty ? Task.CompletedTask : DisposeAsync(variable => UsingDeclarations.IsHidden(variable.Name));

    /// <summary>Disposes of everything.</summary>
    public Task DisposeAllAsync() => DisposeAsync(static _ => true);

    // The last one first, as at the end of a block.
    private async Task DisposeAsync(Func<Variable, bool> which)
    {
        Variable[] chosen = [.. _variables.Where(which).Reverse()];
        _variables.RemoveAll(chosen.Contains);
        foreach (var variable in chosen)
        {
            try
            {
                switch (variable.Field.GetValue(variable.Owner))
                {
                    case IAsyncDisposable value:
                        await value.DisposeAsync();
                        break;
                    case IDisposable value:
                        value.Dispose();
                        break;
                    default:
                        break;
                }
            }
            catch (Exception error) when (error is not (ThreadInterruptedException or ThreadAbortException))
            {
                note($"{(UsingDeclarations.IsHidden(variable.Name) ? "_" : variable.Name)} could not be disposed of: {error.Message}");
            }
        }
    }

    private sealed record Variable(string Name, FieldInfo Field, object Owner);
}
