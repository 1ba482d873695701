using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>Writes a LoRA of one kind as another.</summary>
public static class LoraConversion
{
    /// <summary>
    /// Reads a LoRA of any kind and writes it as another. Weights are not computed with; only names, settings and, if asked for, the type change.
    /// </summary>
    /// <param name="source">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="destination">The file, or for PEFT the folder.</param>
    /// <param name="writing">The kind and the type.</param>
    /// <param name="strict">Whether what would be left out is an error. By default it is told in one line.</param>
    /// <returns>What was left out or is strange.</returns>
    /// <exception cref="FileNotFoundException">There is no LoRA at the source.</exception>
    /// <exception cref="InvalidDataException">
    /// The source is damaged or has numbers that are not finite; strictly read, it has strange names. Nothing is written.
    /// </exception>
    /// <exception cref="ArgumentException">The other kind has no place for some weights, or they are too large for the type. Nothing is written.</exception>
    public static IReadOnlyList<LoraNote> Convert(string source, string destination, LoraWriting writing, bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(writing);
        using var file = LoraFile.Read(source, strict);
        LoraFileSet.Write(destination, LoraStates.WithOwnAlphas(file.States), file.Metadata, writing.For(file.Origin));
        return file.Notes;
    }
}
