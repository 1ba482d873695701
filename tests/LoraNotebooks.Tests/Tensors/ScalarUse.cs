using TorchSharp;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>
/// Finds where an assembly lets TorchSharp make a scalar that nobody holds while libtorch reads it (src/README.md, Traps): by converting a number,
/// or by calling a method of TorchSharp's that does so inside.
/// </summary>
internal static class ScalarUse
{
    // The library's own operations, which hold what they make.
    private static readonly string[] Holders = ["LoraNotebooks.Tensors.Number::", "LoraNotebooks.Tensors.Arithmetic::"];

    // What may go on, and why.
    private static readonly Dictionary<string, string> Exceptions = new()
    {
        ["LoraNotebooks.Interactive.TensorText::Values("] =
            "TorchSharp's own text of at most 1,000 values, as torch.set_printoptions wants it; it computes nothing and reads each scalar at once",
    };

    // What runs when something that was constructed is used through its base class.
    private static readonly string[] Entrances = ["forward", "step", "MoveNext"];

    /// <summary>The methods of TorchSharp's that make a scalar and do not hold it, or call one that does.</summary>
    public static HashSet<string> UnsafeMethods { get; } = Find();

    /// <summary>Every call, in an assembly's methods, that makes a scalar which nobody holds.</summary>
    /// <param name="assembly">The assembly's file.</param>
    public static IReadOnlyList<string> Faults(string assembly)
    {
        var calls = CallGraph.Of(assembly).Calls;
        return
        [
            .. from method in calls.Keys
               where !Holders.Concat(Exceptions.Keys).Any(method.StartsWith)
               from called in calls[method]
               where MakesScalar(called) || UnsafeMethods.Contains(called)
               select $"{method} calls {called}",
            .. from method in calls.Keys
               where calls[method].Contains("LoraNotebooks.Tensors.Number::Hold()")
                   && !calls[method].Any(static called => called is "TorchSharp.Scalar::Dispose()" or "System.IDisposable::Dispose()")
               select $"{method} makes a scalar and does not dispose of it",
        ];
    }

    private static HashSet<string> Find()
    {
        var calls = CallGraph.Of(typeof(torch).Assembly.Location).Calls;
        var methodsOf = calls.Keys.ToLookup(static method => method.Split("::")[0]);
        var callers = (from pair in calls
                       from called in pair.Value.Concat(EntrancesOf(pair.Key))
                       select (Caller: pair.Key, Called: called)).ToLookup(static edge => edge.Called, static edge => edge.Caller);
        var found = new HashSet<string>();
        var open = new Queue<string>(calls.Keys.Where(MakesScalar).SelectMany(maker => callers[maker]));
        while (open.TryDequeue(out var method))
        {
            if (!MakesScalar(method) && found.Add(method))
            {
                foreach (var caller in callers[method])
                {
                    open.Enqueue(caller);
                }
            }
        }

        return found;

        IEnumerable<string> EntrancesOf(string method) => method.Split("::") is [var type, var name] && name.StartsWith(".ctor(")
            ? methodsOf[type].Where(static other => Entrances.Any(entrance => other.Contains($"::{entrance}(")))
            : [];
    }

    private static bool MakesScalar(string method) => method.StartsWith("TorchSharp.Scalar::op_Implicit(") || method.StartsWith("TorchSharp.Scalar::.ctor(")
        || method.StartsWith("TorchSharp.ScalarExtensionMethods::ToScalar(") || method.StartsWith("TorchSharp.ScalarExtensionMethods::ToBFloat16Scalar(");
}
