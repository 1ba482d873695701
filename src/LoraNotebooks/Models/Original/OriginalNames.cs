namespace LoraNotebooks.Models.Original;

/// <summary>Renames parameters by the longest module path that a table knows.</summary>
/// <param name="modules">A module's path here → its path in an original checkpoint.</param>
internal sealed class OriginalNames(IReadOnlyDictionary<string, string> modules)
{
    /// <summary>The name in the original; a name that the table does not know stays.</summary>
    public string Of(string parameter)
    {
        for (var end = parameter.LastIndexOf('.'); end > 0; end = parameter.LastIndexOf('.', end - 1))
        {
            if (modules.TryGetValue(parameter[..end], out var original))
            {
                return original + parameter[end..];
            }
        }

        return parameter;
    }
}
