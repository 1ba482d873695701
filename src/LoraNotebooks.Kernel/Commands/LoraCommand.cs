using System.CommandLine;
using System.Globalization;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>lora-notebooks lora</c>: work on adapter files: convert, inspect, resize, merge, extract.</summary>
internal static class LoraCommand
{
    private static readonly Option<LoraFileKind> To = new("--to")
    {
        Description = "The kind to write: kohya (WebUI, ComfyUI), diffusers or peft.",
        DefaultValueFactory = static _ => LoraFileKind.Kohya,
    };
    private static readonly Option<FileType?> Type = new("--dtype")
    {
        Description = "The type of the weights: fp32, fp16 or bf16. By default what they are; of computed weights fp32.",
    };
    private static readonly Option<bool?> Sdxl = new("--sdxl") { Description = "Whether kohya's names are SDXL's. By default as the weights tell." };
    private static readonly Option<int?> Rank = new("--rank") { Description = "The new rank, or with a rule the most that it may choose." };
    private static readonly Option<int?> ConvolutionRank = new("--conv-rank") { Description = "The same for convolutions; by default the rank." };
    private static readonly Option<RankRule> Rule = new("--rule")
    {
        Description = "How each layer's rank is found: fixed, ratio (kohya's sv_ratio), frobenius (sv_fro) or cumulative (sv_cumulative).",
        DefaultValueFactory = static _ => RankRule.Fixed,
    };
    private static readonly Option<bool> Strict = new("--strict")
    {
        Description = "Refuses what would otherwise be left out and told: unknown and unsupported tensors, assumed values, numbers that are not finite.",
    };
    private static readonly Option<double> Target = new("--target")
    {
        Description = "The rule's target: a ratio such as 10, or a share such as 0.95.",
        DefaultValueFactory = static _ => 1,
    };

    /// <summary>The types of weights by their usual names.</summary>
    private enum FileType
    {
        Fp32,
        Fp16,
        Bf16,
    }

    public static Command Create() => new(
        "lora",
        "Works on LoRA files of any kind: kohya's, LyCORIS', diffusers' and PEFT folders. No base model is needed where none is named.")
    {
        Convert(), Inspect(), Resize(), Merge(), Extract(),
    };

    private static Command Convert()
    {
        var (source, destination) = (Source("lora"), Destination());
        var command = new Command("convert", "Writes a LoRA of one kind as another. Weights are not computed with.")
        {
            source, destination, To, Type, Sdxl, Strict,
        };
        command.SetAction(arguments => Try(() =>
        {
            LoraConversion.Convert(arguments.GetRequiredValue(source), arguments.GetRequiredValue(destination), Writing(arguments), arguments.GetValue(Strict));
            LoraTables.WriteSizes(arguments.GetRequiredValue(source), arguments.GetRequiredValue(destination));
        }));
        return command;
    }

    private static Command Inspect()
    {
        var source = Source("lora");
        var json = new Option<bool>("--json") { Description = "Writes all as JSON, every layer included." };
        var layers = new Option<bool>("--layers") { Description = "Lists every layer in place of blocks." };
        var command = new Command(
            "inspect",
            "Tells what a LoRA holds: kind, base, tool, ranks and α per block, norms, metadata, hashes, what is not understood, not supported or damaged.")
        {
            source, json, layers, Strict,
        };
        command.SetAction(arguments => Try(() =>
        {
            var inspection = LoraInspection.Of(arguments.GetRequiredValue(source));
            if (arguments.GetValue(json))
            {
                LoraTables.WriteJson(inspection);
            }
            else
            {
                LoraTables.Write(inspection, arguments.GetValue(layers));
            }

            if (arguments.GetValue(Strict) && inspection.IsStrange)
            {
                throw new InvalidDataException($"{inspection.Path} holds what strict reading refuses; see above.");
            }
        }));
        return command;
    }

    private static Command Resize()
    {
        var (source, destination) = (Source("lora"), Destination());
        var command = new Command("resize", "Gives a LoRA other ranks by singular values, and shows what is lost.")
        {
            source, destination, Rank, ConvolutionRank, Rule, Target, To, Type, Sdxl, Strict,
        };
        command.SetAction(arguments => Try(() =>
        {
            var choice = Choice(arguments) ?? throw new ArgumentException("Got no --rank, expected the new rank, or with --rule the most that it may choose.");
            LoraTables.Write(LoraResizing.Resize(
                arguments.GetRequiredValue(source),
                arguments.GetRequiredValue(destination),
                choice,
                Writing(arguments),
                arguments.GetValue(Strict)));
            LoraTables.WriteSizes(arguments.GetRequiredValue(source), arguments.GetRequiredValue(destination));
        }));
        return command;
    }

    private static Command Merge()
    {
        var sources = new Argument<string[]>("loras")
        {
            Description = "The LoRAs; a weight follows a colon: \"style.safetensors:0.7\". Without one it is 1.",
            Arity = ArgumentArity.OneOrMore,
            HelpName = "lora[:weight]",
        };
        var output = new Option<string>("--output", "-o") { Description = "The file or folder to write.", Required = true };
        var into = new Option<string?>("--into") { Description = "A model folder into whose weights the LoRAs go; the output is then a new model folder." };
        var command = new Command(
            "merge",
            "Makes one LoRA of several: exactly, by laying them side by side, or with --rank by singular values. With --into, a new base model.")
        {
            sources, output, into, Rank, ConvolutionRank, Rule, Target, To, Type, Sdxl, Strict,
        };
        command.SetAction(arguments => Try(() =>
        {
            var loras = arguments.GetRequiredValue(sources).Select(Weighted).ToList();
            var destination = arguments.GetRequiredValue(output);
            if (arguments.GetValue(into) is { } model)
            {
                MergedModel.Write(model, loras, destination, DType(arguments), arguments.GetValue(Strict));
            }
            else
            {
                LoraTables.Write(LoraMerging.Merge(loras, destination, Choice(arguments), Writing(arguments), arguments.GetValue(Strict)));
            }

            LoraTables.WriteSizes([.. loras.Select(static lora => lora.Path)], destination);
        }));
        return command;
    }

    private static Command Extract()
    {
        var (before, after, destination) = (Source("base"), Source("tuned"), Destination());
        var command = new Command("extract", "Writes the difference of two models as a LoRA, and shows how well each layer's rank holds it.")
        {
            before, after, destination, Rank, ConvolutionRank, Rule, Target, To, Type, Sdxl,
        };
        command.SetAction(arguments => Try(() =>
        {
            var choice = Choice(arguments)
                ?? throw new ArgumentException("Got no --rank, expected the LoRA's rank, or with --rule the most that it may choose.");
            var report = LoraExtraction.Extract(
                arguments.GetRequiredValue(before),
                arguments.GetRequiredValue(after),
                arguments.GetRequiredValue(destination),
                choice,
                Writing(arguments));
            LoraTables.Write(report.Layers);
            LoraTables.WriteLeftOut(report.LeftOut);
            LoraTables.WriteSizes([], arguments.GetRequiredValue(destination));
        }));
        return command;
    }

    private static Argument<string> Source(string name) => new(name) { Description = "A .safetensors file or a folder.", HelpName = name };

    private static Argument<string> Destination() => new("destination") { Description = "The file or folder to write.", HelpName = "destination" };

    private static LoraWriting Writing(ParseResult arguments) => new()
    {
        Kind = arguments.GetValue(To),
        DType = DType(arguments),
        IsSdxl = arguments.GetValue(Sdxl),
    };

    private static ScalarType? DType(ParseResult arguments) => arguments.GetValue(Type) switch
    {
        FileType.Fp32 => ScalarType.Float32,
        FileType.Fp16 => ScalarType.Float16,
        FileType.Bf16 => ScalarType.BFloat16,
        _ => null,
    };

    private static RankChoice? Choice(ParseResult arguments) => arguments.GetValue(Rank) is { } rank
        ? new RankChoice
        {
            Rank = rank,
            ConvolutionRank = arguments.GetValue(ConvolutionRank),
            Rule = arguments.GetValue(Rule),
            Target = arguments.GetValue(Target),
        }
        : null;

    private static (string Path, double Weight) Weighted(string text)
    {
        var colon = text.LastIndexOf(':');
        return colon > 0 && double.TryParse(text[(colon + 1)..], NumberStyles.Float, CultureInfo.InvariantCulture, out var weight)
            ? (text[..colon], weight)
            : (text, 1);
    }

    private static int Try(Action work)
    {
        try
        {
            work();
            return 0;
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            Console.Error.WriteLine(error.Message);
            return 3;
        }
        catch (Exception error)
            when (error is ArgumentException or IOException or InvalidDataException or InvalidOperationException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }
}
